"""The time that clients take together when fewer work in parallel than there are."""

from collections.abc import Sequence


def makespan(working: Sequence[float], side_by_side: int) -> float:
    """Return the time that clients take together if they take turns.

    Each starts, in order, as soon as an earlier one has finished.

    Args:
        working: working seconds of each client, in the fixed order of the clients; not empty.
        side_by_side: number of clients that work at the same time, ≥ 1.
    """
    free = [0.0] * min(side_by_side, len(working))
    for seconds in working:
        first = free.index(min(free))
        free[first] += seconds
    return max(free)
