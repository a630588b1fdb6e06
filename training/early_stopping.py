"""Early stopping: a run ends once its validation figure has not become better for long enough."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from operation.text import counted
from training.checkpoint import Progress
from training.config import ExperimentConfig


def ends_after(
    records: Sequence[Mapping[str, Any]], config: ExperimentConfig, *, validated_late: bool
) -> int | None:
    """Return the round after which key ``patience`` ends a run; None if it goes on.

    It depends on the finished rounds alone, so that a resumed run ends where one that was never
    interrupted does.

    Args:
        records: of all finished rounds, as in ``rounds.jsonl``.
        validated_late: whether a model is validated in the round after its own. What is known of
            the last one is then left out, because a run that just finished it does not know it.
    """
    late = int(validated_late)
    if not config.patience:
        return None
    progress = Progress()
    for number, record in enumerate(records[: len(records) - late], start=1):
        progress = replace(progress, round=number, records=[dict(record)])
        progress = progress.validated(record["validation"], config.best_by)
        # Without any figure there is nothing that could become better.
        if progress.best_round and number - progress.best_round >= config.patience:
            return number + late
    return None


def why_ended(config: ExperimentConfig, unit: str, done: int, planned: int) -> str:
    """Return why a run ended early, as the manifest's ``ended_early``.

    Args:
        unit: ``round`` or ``epoch``.
        done: the last one.
        planned: their number in the config.
    """
    without = counted(config.patience, unit)
    return (
        f"after {unit} {done} of {planned}: in {without} (patience) no better "
        f"validation {config.best_by.upper()}"
    )


def ended_early_note(manifest: Mapping[str, Any]) -> str | None:
    """Return a sentence that says that a run ended early, and why; None if it did not."""
    why = manifest.get("ended_early")
    return f"The run ended early, {why}." if why else None
