"""Which clients took part in a federated run, and what its figures are of."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any


def participation(rounds: Iterable[Mapping[str, Any]], clients: Iterable[str]) -> dict[str, int]:
    """Count for each client the rounds whose mean includes its update.

    Args:
        rounds: as in ``rounds.jsonl``.
        clients: every client of the run, in the fixed order.
    """
    counts = dict.fromkeys(clients, 0)
    for record in rounds:
        for client in record["clients"]:
            counts[client] += 1
    return counts


def sampled(rounds: Iterable[Mapping[str, Any]], clients: Iterable[str]) -> dict[str, int]:
    """Count for each client the rounds that asked it to train; arguments as of `participation`."""
    asked = ({"clients": {*record["clients"], *record["failures"]}} for record in rounds)
    return participation(asked, clients)


def absences(
    participation: Mapping[str, int],
    rounds: int,
    *,
    sampled: Mapping[str, int] | None = None,
    not_validated: Collection[str],
    not_tested: Collection[str],
    not_by_patient: Collection[str] = (),
) -> dict[str, str]:
    """Return, for each client that missed something, what it missed.

    If the result is empty, the run is complete: every client took part in every round that asked
    it, validated the best model if asked, and evaluated it on its test images.

    Args:
        participation: from `participation`.
        sampled: by client, the number of rounds that asked it, if not all did.
        not_validated: clients whose images did not help to choose the best round.
        not_tested: clients whose images are not in the pooled test figures.
        not_by_patient: clients whose patients are not in those by patient, if there are any.
    """
    found = {}
    for client, count in participation.items():
        asked, them = (rounds, "") if sampled is None else (sampled[client], " that asked it")
        missed = [f"in {count} of {asked} rounds{them}"] if count < asked else []
        if client in not_validated:
            missed.append("not in the validation of the best round")
        if client in not_tested:
            missed.append("not in the pooled test figures")
        elif client in not_by_patient:
            missed.append("not in the pooled test figures by patient")
        if missed:
            found[client] = ", ".join(missed)
    return found


def absences_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the `absences` of a run from its ``metrics.json``; a centralized run has none."""
    if "participation" not in metrics:
        return {}
    return absences(
        metrics["participation"],
        metrics["rounds"],
        sampled=metrics.get("sampled"),
        not_validated=metrics["validation"]["missing"],
        not_tested=metrics["client_test"]["missing"],
        not_by_patient=metrics["client_test"].get("patients", {}).get("missing", ()),
    )


def chosen_model(metrics: Mapping[str, Any]) -> str:
    """Return which model the figures in ``metrics.json`` are of, and of which round or epoch."""
    by, rounds = metrics["best_by"].upper(), metrics["rounds"]
    if own := metrics.get("best_rounds"):
        of = f"{min(own.values())} to {max(own.values())} of {rounds}"
        return f"each client's best model by its own validation {by}, of rounds {of}"
    what = "round" if "clients" in metrics else "epoch"
    return f"the best model by validation {by}, of {what} {metrics['best_round']} of {rounds}"


def local_arrays_note(metrics: Mapping[str, Any]) -> str | None:
    """Return a line about whose model the figures are of; None if there is one for all."""
    number = metrics.get("local_arrays", 0)
    if not number:
        return (
            "each client's figures are of a model of its own, but for rows of the shared model; "
            "the global test set's are of the shared one"
            if "shared" in metrics
            else None
        )
    return (
        f"{number} arrays stay at the clients: each client's figures are of a model of its own, "
        "and there is no one model for a global test set"
    )


def pooled_clients(missing: Collection[str], clients: int) -> str:
    """Return of how many clients a pooled figure is, as text.

    Args:
        missing: the clients that are not in it.
    """
    return f"{clients - len(missing)} of {clients} clients" if missing else "all clients"
