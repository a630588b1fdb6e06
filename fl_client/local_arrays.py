"""The arrays of the model that stay at a client, such as its own head."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fl_client.client import Client
from strategies.methods import METHODS
from training.round_files import RoundFiles
from training.weights import load_weights, save_weights


def with_own(
    client: Client, received: Mapping[str, NDArray], settings: Mapping[str, Any], *, before: int
) -> dict[str, NDArray]:
    """Return a received model with this client's own arrays in place of the run's first ones.

    They are those of its last round that counted; at first there are none. They are stored by round
    in the client's folder ``local``; see `RoundFiles`.

    Args:
        received: the model, and what is carried beside it.
        settings: ``counted``, the last round in which this client's reply counted.
        before: only arrays of earlier rounds are taken.

    Raises:
        RunFolderError: the arrays are damaged.
    """
    if not _local_names(client, received):
        return dict(received)
    round_files = RoundFiles(client.folder / "local")
    round_files.forget(after=int(settings.get("counted", before)), before=before)
    newest = round_files.newest(before=before)
    return {**received, **(load_weights(newest[1]) if newest else {})}


def keep_own(
    client: Client, trained: Mapping[str, NDArray], settings: Mapping[str, Any]
) -> dict[str, NDArray]:
    """Write this client's own arrays after training to its folder; return the others.

    Those of the best round are kept as long as it is the best, since its model is evaluated at the
    end.

    Args:
        trained: the model after training.
        settings: ``round``, and ``best-round``, the best so far.
    """
    names = _local_names(client, trained)
    if names:
        round_files = RoundFiles(client.folder / "local")
        keep = int(settings.get("best-round", 0))
        with round_files.saving(int(settings["round"]), keep=keep) as temporary:
            save_weights(temporary, {name: trained[name] for name in names})
    return {name: array for name, array in trained.items() if name not in names}


def _local_names(client: Client, names: Mapping[str, NDArray]) -> set[str]:
    return METHODS[client.config.strategy].local_names(names)
