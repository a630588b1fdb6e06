"""Which clients took part in a federated run, and who is missing behind its figures."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any


def participation(rounds: Iterable[Mapping[str, Any]], clients: Iterable[str]) -> dict[str, int]:
    """Count for each client the rounds whose mean holds its update.

    Args:
        rounds: as in ``rounds.jsonl``.
        clients: every client of the run, in the fixed order.
    """
    counts = dict.fromkeys(clients, 0)
    for record in rounds:
        for client in record["clients"]:
            counts[client] += 1
    return counts


def absences(
    participation: Mapping[str, int],
    rounds: int,
    *,
    not_validated: Collection[str],
    not_tested: Collection[str],
) -> dict[str, str]:
    """Say what each client missed, by the names of those that missed anything.

    A run is complete where this is empty: every client took part in every round, validated the
    best model, and judged it on its test images.

    Args:
        participation: as of `participation`.
        rounds: how many rounds there were.
        not_validated: whose images are not among those by which the best round was chosen.
        not_tested: whose images are not among those of the pooled test figures.
    """
    found = {}
    for client, count in participation.items():
        missed = [f"in {count} of {rounds} rounds"] if count < rounds else []
        if client in not_validated:
            missed.append("not in the validation of the best round")
        if client in not_tested:
            missed.append("not in the pooled test figures")
        if missed:
            found[client] = ", ".join(missed)
    return found


def absences_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the `absences` of a run by its ``metrics.json``; a centralized run has none."""
    if "participation" not in metrics:
        return {}
    return absences(
        metrics["participation"],
        metrics["rounds"],
        not_validated=metrics["validation"]["missing"],
        not_tested=metrics["client_test"]["missing"],
    )
