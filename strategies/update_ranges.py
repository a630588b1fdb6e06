"""What training can never make of certain arrays, so that a reply that holds it is refused.

An integer is not averaged: where the clients differ the largest counts. An index into a table, such
as a Swin transformer's ``relative_position_index``, would so be whatever one client says, and every
other client's network would fail. A negative variance makes NaN of every image.
"""

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.arrays import views
from strategies.layout import Layout

# BatchNorm's, by the last part of its name.
_VARIANCE = "running_var"
# More steps than a round can have, and so few that no counter overflows in 2³¹ rounds.
MOST_STEPS = 2**32


def out_of_range(record: ArrayRecord, base: ArrayRecord, layout: Layout | None) -> str | None:
    """Return what is wrong with a client's weights, if anything is; floats may still be NaN.

    A single integer is a counter, such as BatchNorm's, and has grown by at most `MOST_STEPS`;
    arrays of integers are what was sent; no variance is negative.

    Args:
        record: the client's weights.
        base: the global weights that it was sent, of the same names, dtypes and shapes.
        layout: in which both lie end to end, if they do.
    """
    read = views if layout is None else layout.views
    ours, theirs = read(record), read(base)
    faults = (_fault(name, array, theirs[name]) for name, array in ours.items())
    return next((fault for fault in faults if fault is not None), None)


def _fault(name: str, ours: NDArray, theirs: NDArray) -> str | None:
    if np.issubdtype(ours.dtype, np.floating):
        if name.rpartition(".")[2] == _VARIANCE and (ours < 0).any():
            return f"its array {name!r} holds a negative variance"
    elif ours.size == 1:
        if not 0 <= int(ours.item()) - int(theirs.item()) <= MOST_STEPS:
            return f"its array {name!r} counts steps that no round has"
    elif not np.array_equal(ours, theirs):
        return f"its array {name!r} holds integers that training does not change"
    return None
