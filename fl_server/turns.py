"""How long clients are at work where fewer work side by side than there are."""

from collections.abc import Sequence


def busy_seconds(working: Sequence[float], side_by_side: int) -> float:
    """Return how long clients are at work that take turns.

    Each begins, in order, as soon as one of those before it makes room.

    Args:
        working: seconds that each needs, in the fixed order of the clients; not empty.
        side_by_side: how many work at the same time, ≥ 1.
    """
    free = [0.0] * min(side_by_side, len(working))
    for seconds in working:
        first = free.index(min(free))
        free[first] += seconds
    return max(free)
