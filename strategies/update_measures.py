"""Measuring clients' updates, and models."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import CHUNK, blocks, map_in_threads, shares_of, square
from strategies.arrays import views
from strategies.layout import Layout
from strategies.method import is_carried
from strategies.update_sketch import Apart, PartOfUpdate, Update, is_running_statistic


def measure(record: ArrayRecord, base: ArrayRecord, layout: Layout | None = None) -> Update:
    """Measure a client's update. Needs some megabytes.

    Args:
        record: the client's weights.
        base: the global weights that it was sent, with the same names, dtypes and shapes.
    """
    ours, theirs = _flat(record), _flat(base)
    numbers, apart = _numbers(ours), _apart(ours, layout)
    floats = {n: a.size for n, a in ours.items() if np.issubdtype(a.dtype, np.floating)}

    def part_of(share: tuple[str, slice]) -> PartOfUpdate:
        name, part = share
        size = part.stop - part.start
        # One array for all blocks: a new one for each would cost its page faults every time.
        scratch = np.empty(min(CHUNK, size), np.result_type(ours[name].dtype, np.float32))
        value, block = numbers[name]
        update = PartOfUpdate(value + part.start, block + part.start // CHUNK, scratch, size)
        with np.errstate(over="ignore", invalid="ignore"):
            for piece in blocks(part):
                start, spans = piece.start - part.start, apart(name, piece)
                update.add_block(ours[name][piece], theirs[name][piece], start, spans)
        return update

    # In a fixed order, since a sum of floats depends on it.
    return Update.of_parts(map_in_threads(part_of, shares_of(floats)))


def norm_of(record: ArrayRecord, layout: Layout | None = None, *, carried: bool = False) -> float:
    """Return the L2 norm of a model over the arrays of which an update's norm is.

    Args:
        record: the model.
        carried: whether the norm is that of what the method carries beside the weights instead.
    """
    arrays = _flat(record)
    apart = _apart(arrays, layout)

    def square_of(share: tuple[str, slice]) -> float:
        name, part = share
        if not np.issubdtype(arrays[name].dtype, np.floating):
            return 0.0
        total = 0.0
        for block in blocks(part):
            values, spans = arrays[name][block].astype(np.float64), apart(name, block)
            if carried:
                total += sum(square(values[span]) for span in spans.carried)
                continue
            for span in chain(*spans):
                values[span] = 0
            total += square(values)
        return total

    with np.errstate(over="ignore", invalid="ignore"):
        shares = shares_of({name: array.size for name, array in arrays.items()})
        return math.sqrt(sum(map_in_threads(square_of, shares)))


def _flat(record: ArrayRecord) -> dict[str, NDArray]:
    return {name: array.reshape(-1) for name, array in views(record).items()}


def _numbers(arrays: Mapping[str, NDArray]) -> dict[str, tuple[int, int]]:
    """Return the numbers of each array's first value and block, counted through all arrays."""
    sizes = [array.size for array in arrays.values()]
    values = accumulate(sizes, initial=0)
    numbers = accumulate((-(-size // CHUNK) for size in sizes), initial=0)
    return dict(zip(arrays, zip(values, numbers, strict=True), strict=False))


def _apart(arrays: Mapping[str, NDArray], layout: Layout | None) -> Callable[[str, slice], Apart]:
    """Return a function that says where in a block of an array there is what is measured apart."""

    def spans(chosen: Callable[[str], bool]) -> Mapping[str, Sequence[slice]]:
        if layout is not None:
            return layout.spans(chosen)
        return {name: [slice(0, a.size)] for name, a in arrays.items() if chosen(name)}

    found = [spans(is_running_statistic), spans(is_carried)]
    return lambda name, block: Apart(*(_within(block, some.get(name, ())) for some in found))


def _within(block: slice, spans: Sequence[slice]) -> list[slice]:
    """Return the parts of spans that are in a block, counted from its start."""
    return [
        slice(max(span.start, block.start) - block.start, min(span.stop, block.stop) - block.start)
        for span in spans
        if span.start < block.stop and block.start < span.stop
    ]
