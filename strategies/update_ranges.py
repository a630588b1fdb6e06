"""What training can never make of a model, so that a reply that holds it is refused.

An integer is not averaged: where the clients differ the largest counts. An index into a table, such
as a Swin transformer's ``relative_position_index``, would so be whatever one client says, and every
other client's network would fail. A negative variance makes NaN of every image. Finite but enormous
weights make a mean from which every other client's training diverges.

Each reply is judged by itself, so it makes no difference in which order they come.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import is_finite
from strategies.arrays import views
from strategies.layout import Layout
from strategies.update_measures import norm_of
from strategies.update_sketch import Update, is_running_statistic

# An update may be this many times as long as the global weights, or as 1 if they are shorter.
LONGEST = 1000.0
# The same of running means and variances, which honest training from scratch, with a rate too high
# for it, may multiply by a thousand in a round and still recover from; and of what a method carries
# beside the weights, such as gradients, whose size says nothing about that of the weights.
LONGEST_APART = 1e6

# BatchNorm's, by the last part of its name.
_VARIANCE = "running_var"
# More steps than a round can have, and so few that no counter overflows in 2³¹ rounds.
MOST_STEPS = 2**32


def out_of_range(record: ArrayRecord, base: ArrayRecord, layout: Layout | None) -> str | None:
    """Return what is wrong with a client's weights, if anything is; floats may still be NaN.

    A single integer is a counter, such as BatchNorm's, and has grown by at most `MOST_STEPS`;
    arrays of integers are what was sent; no variance is negative. Running means and variances,
    which may be far longer than all other weights, have a bound of their own: see `too_long`.

    Args:
        record: the client's weights.
        base: the global weights that it was sent, of the same names, dtypes and shapes.
    """
    read = views if layout is None else layout.views
    ours, theirs = read(record), read(base)
    faults = (_fault(name, array, theirs[name]) for name, array in ours.items())
    return next((fault for fault in faults if fault is not None), None) or _statistics(ours, theirs)


def too_long(update: Update, base: ArrayRecord, layout: Layout | None = None) -> str | None:
    """Return what is wrong with an update that is far too long, if it is.

    Args:
        update: not NaN.
        base: the global weights that the client was sent.
        layout: in which these lie end to end, if they do.
    """
    if math.isinf(update.square) or math.isinf(update.carried):
        return "its update is too large to be measured"
    if update.norm > LONGEST:
        fault = _beyond("its update", update.norm, norm_of(base, layout), LONGEST)
        if fault is not None:
            return fault
    if update.carried_norm > LONGEST_APART:
        of_base = norm_of(base, layout, carried=True)
        what = "the update of what it carries beside the weights"
        return _beyond(what, update.carried_norm, of_base, LONGEST_APART)
    return None


def _beyond(what: str, norm: float, of_base: float, longest: float) -> str | None:
    most = longest * max(1.0, of_base)
    if norm <= most:
        return None
    times = f"{longest:,.0f} times the norm of what it was sent, or of 1"
    return f"{what} (norm {norm:.3g}) is longer than {most:.3g}, {times}"


def _statistics(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray]) -> str | None:
    """Judge the running means and variances of all layers together."""
    names = [name for name in ours if is_running_statistic(name)]
    moved = _norm(ours[name].astype(np.float64) - theirs[name] for name in names)
    if not all(is_finite(ours[name]) for name in names):
        return None  # named as that later
    of_base = _norm(theirs[name].astype(np.float64) for name in names)
    what = "the update of its running means and variances"
    return _beyond(what, moved, of_base, LONGEST_APART)


def _norm(arrays: Iterable[NDArray[np.float64]]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return math.hypot(*(float(np.linalg.norm(array)) for array in arrays))


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
