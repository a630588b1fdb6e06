"""Models that no global test set judges: where their answers are, and what is said of them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.reporting.hospital_trials import has_both
from strategies.methods import METHODS


def client_predictions(folder: Path, client: str, *, shared: bool = False) -> Path:
    """Return the file with the predictions for a simulated client's own test images.

    Args:
        folder: of the run.
        client: its name in the metrics.
        shared: whether those of the shared model, where clients have models of their own.
    """
    file = "predictions-shared-test.csv" if shared else "predictions-test.csv"
    return folder / "clients" / client.partition(" ")[0] / file


def hospital_name(client: str) -> str:
    """Return the source in a client's name, such as ``client-0 (rosendahl)``; or the name."""
    found = re.fullmatch(r"\S+ \((.+)\)", client)
    return client if found is None else found[1]


def shared_model_note(strategies: Iterable[str]) -> Iterator[str]:
    """Yield a sentence on those methods whose clients have models beside the one that is judged.

    Args:
        strategies: as key ``strategy`` names them.
    """
    if names := _titles(name for name in strategies if has_both(METHODS[name])):
        yield (
            f"{names}: the figures are of the shared model, which alone is judged on the global "
            "test set. The clients' own models are judged on the clients' test splits: see fedskin "
            "report RUN_DIR."
        )


def own_models_note(strategies: Iterable[str]) -> Iterator[str]:
    """Yield a sentence on those methods whose clients have models beside the shared one, if those
    of the clients are judged.

    Args:
        strategies: as key ``strategy`` names them.
    """
    if names := _titles(name for name in strategies if has_both(METHODS[name])):
        yield f"{names}: the figures are of the clients' own models, not of the shared one."


def left_out_note(strategies: Iterable[str]) -> Iterator[str]:
    """Yield a sentence on methods that are left out, because arrays stay at the clients."""
    if names := _titles(strategies):
        yield (
            f"Left out, since arrays stay at the clients and no one model was trained whole: "
            f"{names}."
        )


def _titles(strategies: Iterable[str]) -> str:
    return ", ".join(METHODS[name].title for name in sorted(set(strategies)))
