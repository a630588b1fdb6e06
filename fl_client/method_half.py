"""The client's half of the run's method, in one round of training."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from fl_client.client import Client
from strategies.method import ClientHalf, LocalTraining, carried_name
from strategies.methods import METHODS
from training.errors import TrainingError
from training.network import as_tensors
from training.round_files import RoundFiles
from training.weights import load_weights, save_weights


def with_own(
    client: Client, received: Mapping[str, NDArray], settings: Mapping[str, Any], *, before: int
) -> dict[str, NDArray]:
    """Return a received model with this client's own arrays in place of those received.

    They are those of its last round that counted; at first there are none. They are stored by round
    in the client's folder ``local``; see `RoundFiles`.

    Args:
        received: the model, and what is carried beside it.
        settings: ``counted``, the last round in which this client's reply counted.
        before: only arrays of earlier rounds are taken.

    Raises:
        RunFolderError: the arrays are damaged.
    """
    if not METHODS[client.config.strategy].own_names(received):
        return dict(received)
    round_files = RoundFiles(client.folder / "local")
    round_files.forget(after=int(settings.get("counted", before)), before=before)
    newest = round_files.newest(before=before)
    return {**received, **(load_weights(newest[1]) if newest else {})}


def keep_own(
    client: Client, trained: Mapping[str, NDArray], settings: Mapping[str, Any]
) -> dict[str, NDArray]:
    """Write this client's own arrays after training to its folder; return those that are shared.

    Those of the best round are kept as long as it is the best, since its model is evaluated at the
    end.

    Args:
        trained: the model after training.
        settings: ``round``, and ``best-round``, the best so far.
    """
    method = METHODS[client.config.strategy]
    if names := method.own_names(trained):
        round_files = RoundFiles(client.folder / "local")
        keep = int(settings.get("best-round", 0))
        with round_files.saving(int(settings["round"]), keep=keep) as temporary:
            save_weights(temporary, {name: trained[name] for name in names})
    local = method.local_names(trained)
    return {name: array for name, array in trained.items() if name not in local}


class MethodHalf:
    """What the method does at a client in one round, and the state that it keeps there.

    The state is stored by round in the client's folder ``method``, or ``own-method``; see
    `RoundFiles`.

    Args:
        trained: the trained parameters by name, with the received weights.
        received: the global weights, and what is carried beside them; read only, and kept only if
            the method asks for them.
        settings: ``round``, the round that begins, and ``counted``, the last one in which this
            client's reply counted.
        own: whether it is the second training, of the client's own model.

    Attributes:
        before_step: to be called before every step of the optimizer; None under plain training.
    """

    def __init__(
        self,
        client: Client,
        trained: Mapping[str, Tensor],
        received: Mapping[str, NDArray],
        settings: Mapping[str, Any],
        learning_rate: float,
        *,
        own: bool = False,
    ) -> None:
        self.before_step: Callable[[], None] | None = None
        self._method = METHODS[client.config.strategy]
        self._round = int(settings["round"])
        self._round_files = RoundFiles(client.folder / ("own-method" if own else "method"))
        self._training: LocalTraining | None = None
        self._own = own
        begin = self._method.own_half if own else self._method.client_half
        if begin is None:
            return

        def of_trained(kind: str = "") -> list[Tensor]:
            tensors = as_tensors(received)
            names = [carried_name(kind, name) if kind else name for name in trained]
            return [tensors[name].to(client.device) for name in names]

        self._round_files.forget(
            after=int(settings.get("counted", self._round)), before=self._round
        )
        newest = self._round_files.newest(before=self._round)
        self._training = LocalTraining(
            settings=client.config.to_flat(),
            trained=trained,
            received=of_trained,
            learning_rate=learning_rate,
            state=load_file(newest[1], device=str(client.device)) if newest else {},
        )
        self._half = begin(self._training)
        if not isinstance(self._half, ClientHalf | None):
            raise TrainingError(
                f"strategy = {client.config.strategy!r}: its client_half gives "
                f"{type(self._half).__name__}, not a ClientHalf"
            )
        # Otherwise the function would keep the received weights.
        self._training.received = _too_late
        if self._half is not None:
            self.before_step = self._half.before_step

    def finish(self) -> tuple[dict[str, NDArray], dict[str, int | float]]:
        """Let the method finish the round after training, and write its state.

        Returns:
            What is carried back beside the weights, by the names in the message; and the numbers
            that the method reports.
        """
        if self._training is None:
            return {}, {}
        if self._half is not None:
            self._half.after_training()
        done = self._training
        if done.state:
            tensors = {n: t.detach().contiguous().cpu() for n, t in done.state.items()}
            with self._round_files.saving(self._round) as temporary:
                save_file(tensors, temporary)
        if self._own:
            return {}, {}
        carried = {
            carried_name(kind, name): tensor.detach().cpu().numpy()
            for kind in self._method.carried
            for name, tensor in zip(done.trained, done.returned[kind], strict=True)
        }
        return carried, {name: done.scalars[name] for name in self._method.scalars}


def _too_late(_kind: str = "") -> list[Tensor]:
    raise AssertionError("the received weights are only there before training")
