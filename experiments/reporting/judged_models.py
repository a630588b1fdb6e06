"""What is said of methods with models that no global test set judges."""

from collections.abc import Iterable, Iterator

from experiments.reporting.hospital_trials import has_both
from strategies.methods import METHODS


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


def left_out_note(strategies: Iterable[str]) -> Iterator[str]:
    """Yield a sentence on methods that are left out, because arrays stay at the clients."""
    if names := _titles(strategies):
        yield (
            f"Left out, since arrays stay at the clients and no one model was trained whole: "
            f"{names}."
        )


def _titles(strategies: Iterable[str]) -> str:
    return ", ".join(METHODS[name].title for name in sorted(set(strategies)))
