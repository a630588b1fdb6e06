"""Measuring clients' updates, one after the other, or all together while their mean is taken."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, chain

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import CHUNK, blocks, mean_into, one_thread_per_core, shares_of, square
from strategies.arrays import Blank, views
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

    def part_of(share: tuple[str, slice]) -> list[PartOfUpdate]:
        name, part = share
        if not np.issubdtype(ours[name].dtype, np.floating):
            return []
        (update,) = _parts(1, numbers[name], part, ours[name].dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for block in blocks(part):
                start, spans = block.start - part.start, apart(name, block)
                update.add_block(ours[name][block], theirs[name][block], start, spans)
        return [update]

    whole = [Update()]
    _add_in_order(whole, part_of, ours)
    return whole[0]


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

    with np.errstate(over="ignore", invalid="ignore"), one_thread_per_core() as threads:
        shares = shares_of({name: array.size for name, array in arrays.items()})
        return math.sqrt(sum(threads.map(square_of, shares)))


def mean_and_updates(
    records: Sequence[ArrayRecord],
    weights: Sequence[float | Fraction],
    base: ArrayRecord,
    layout: Layout | None = None,
) -> tuple[ArrayRecord, list[Update]]:
    """Return the weighted mean of models that are all in memory, and the measurements of each
    update.

    The same bits as `RunningMean` and `measure` give one after the other. Needs the mean and some
    megabytes.

    Args:
        records: M ≥ 1 models.
        base: the global weights that all were sent.
        layout: layout of all if they are concatenated.

    Raises:
        NotFinite: the mean is NaN or infinite somewhere.
    """
    models, theirs = [_flat(record) for record in records], _flat(base)
    shapes = {name: (np.dtype(array.dtype), tuple(array.shape)) for name, array in base.items()}
    blanks = {name: Blank(dtype, shape) for name, (dtype, shape) in shapes.items()}
    numbers, apart = _numbers(theirs), _apart(theirs, layout)

    def part_of(share: tuple[str, slice]) -> list[PartOfUpdate]:
        name, part = share
        out, start = blanks[name].values.reshape(-1), theirs[name]
        floats = np.issubdtype(out.dtype, np.floating)
        updates = _parts(len(models), numbers[name], part, out.dtype) if floats else []
        with np.errstate(over="ignore", invalid="ignore"):
            for block in blocks(part):
                pieces = [model[name][block] for model in models]
                spans = apart(name, block)
                for update, piece in zip(updates, pieces, strict=False):
                    update.add_block(piece, start[block], block.start - part.start, spans)
                mean_into(out[block], pieces, weights)
        return updates

    whole = [Update() for _ in records]
    _add_in_order(whole, part_of, theirs)
    return ArrayRecord({name: blank.finish() for name, blank in blanks.items()}), whole


def _add_in_order(
    whole: Sequence[Update],
    part_of: Callable[[tuple[str, slice]], Sequence[PartOfUpdate]],
    arrays: Mapping[str, NDArray],
) -> None:
    """Measure all parts of arrays in several threads; add them up in a fixed order, since a sum of
    floats depends on it.
    """
    shares = shares_of({name: array.size for name, array in arrays.items()})
    with one_thread_per_core() as threads:
        for parts in threads.map(part_of, shares):
            for update, part in zip(whole, parts, strict=False):  # no parts of integers
                update.add(part)


def _parts(count: int, number: tuple[int, int], part: slice, dtype: np.dtype) -> list[PartOfUpdate]:
    """Return empty measurements of the same part of an array for some clients."""
    size = part.stop - part.start
    # One array for all: a new one for each block would cost its page faults every time.
    scratch = np.empty(min(CHUNK, size), np.result_type(dtype, np.float32))
    value, block = number[0] + part.start, number[1] + part.start // CHUNK
    return [PartOfUpdate(value, block, scratch, size) for _ in range(count)]


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
