"""The mean of several models' named arrays."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord
from joblib import cpu_count  # respects affinity and a container's limits
from numpy.typing import NDArray

from strategies.arrays import view, writable

# Values summed at a time: the pieces and their sum stay in a core's cache, so each value is read
# from memory once and the check for NaN costs almost nothing. Measured: pieces of 1 MiB, here
# rounded up to 16 rows of an update's sketch (`update_sketch.py`).
CHUNK = 16 * 16_411
# Values that a thread takes at a time.
_SHARE = 16 * CHUNK
# Squares that are summed in the values' own dtype.
_SQUARES = 1 << 12


Result = TypeVar("Result")


class NotFinite(ValueError):
    """A mean that is not finite."""


def is_finite(array: NDArray) -> bool:
    """Return whether an array has no NaN and no infinity. Holds at most a megabyte."""
    if not np.issubdtype(array.dtype, np.floating):
        return True
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return all(
            _finite(flat[start : start + CHUNK]) or np.isfinite(flat[start : start + CHUNK]).all()
            for start in range(0, flat.size, CHUNK)
        )


def in_threads(sizes: Mapping[str, int], work: Callable[[str, slice], object]) -> None:
    """Process arrays in several threads, one share of an array's values at a time.

    NumPy releases the interpreter's lock while it computes. Each value is processed by one thread,
    so the result does not depend on the number of threads.

    Args:
        work: processes some values of the named array.
    """
    shares = shares_of(sizes)
    # Large shares first, so that the threads end at about the same time.
    shares.sort(key=lambda share: share[1].start - share[1].stop)
    map_in_threads(lambda share: work(*share), shares)


def map_in_threads(
    function: Callable[[tuple[str, slice]], Result], shares: Sequence[tuple[str, slice]]
) -> list[Result]:
    """Return a function's result for each share, in their order.

    As many threads as cores: the work is limited by memory, and more would wait for each other's
    lock and displace each other's pieces from the cache, which costs a third of the time on two
    cores. What is less than a share altogether needs none; to start them would take longer.
    """
    if sum(part.stop - part.start for _, part in shares) <= _SHARE:
        return list(map(function, shares))
    with ThreadPoolExecutor(cpu_count()) as threads:
        return list(threads.map(function, shares))


def shares_of(sizes: Mapping[str, int]) -> list[tuple[str, slice]]:
    """Divide arrays into the shares that threads take, in order; a share starts at a multiple of
    `CHUNK`.
    """
    return [
        (name, slice(start, min(start + _SHARE, size)))
        for name, size in sizes.items()
        for start in range(0, size, _SHARE)
    ]


def blocks(part: slice) -> Iterator[slice]:
    """Divide a share of an array into pieces of `CHUNK` values."""
    for start in range(part.start, part.stop, CHUNK):
        yield slice(start, min(start + CHUNK, part.stop))


def square(values: NDArray) -> float:
    """Return Σ v² over (n,) floats; see `dot`."""
    return dot(values, values)


def dot(a: NDArray, b: NDArray) -> float:
    """Return Σ a b over (n,) floats; not finite if a value is not, or if the sum is too large for
    the dtype.

    Summed in the values' dtype over `_SQUARES` at a time, then in float64. That few are less than
    what OpenBLAS divides among threads of its own: only one caller at a time can make use of them,
    and where other processes have the cores, it waits for them, for up to 30 ms.
    """
    whole = a.size // _SQUARES * _SQUARES
    pieces = np.vecdot(a[:whole].reshape(-1, _SQUARES), b[:whole].reshape(-1, _SQUARES))
    return float(pieces.sum(dtype=np.float64)) + float(np.dot(a[whole:], b[whole:]))


def _finite(values: NDArray) -> bool:
    """Return whether values are finite; may be False for finite but very large ones.

    A sum of squares is NaN or infinite if any value is, so one finite sum proves them all finite.
    """
    return math.isfinite(square(values))


class RunningMean:
    """(Σ n_i w_i) / Σ n_i of models that are added one after the other.

    Floats are summed in the order in which they are added, in float32 or in their own dtype if that
    is wider. Each is multiplied by its weight relative to the first one's, and the sum divided by
    the sum of these; with equal weights this is (1/M) Σ w_i, and the mean of one model is the model
    itself, bit for bit. Integers, such as BatchNorm's counters, have no mean: if all agree they are
    kept, otherwise the maximum is taken.

    Memory: one model, the sum. If the first model's bytes are writable, no one else uses them, and
        they become the sum.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self._sums: dict[str, NDArray] = {}
        self._first: float | Fraction = 1.0
        self._total = 0.0

    def add(self, record: ArrayRecord, weight: float | Fraction) -> None:
        """Add a model with the names, shapes and dtypes of the earlier ones, with a weight > 0."""
        factor = 1.0
        if not self._arrays:
            self._first = weight
            self._begin(record)
        else:
            factor = float(weight / self._first)
            self._add(record, factor)
        self._total += factor

    def finish(self) -> ArrayRecord:
        """Return the mean; nothing can be added afterwards.

        Raises:
            NotFinite: it is NaN or infinite somewhere.
        """

        def divide(name: str, part: slice) -> None:
            sums = self._sums[name][part]
            if np.issubdtype(sums.dtype, np.floating):
                sums /= sums.dtype.type(self._total)
            values = view(self._arrays[name]).reshape(-1)[part]
            with np.errstate(over="ignore"):
                np.copyto(values, sums, casting="same_kind")
            if not is_finite(values):
                raise NotFinite

        in_threads({name: sums.size for name, sums in self._sums.items()}, divide)
        self._sums = {}
        record = ArrayRecord()
        for name, array in self._arrays.items():
            record[name] = array
        return record

    def _begin(self, record: ArrayRecord) -> None:
        for name, array in record.items():
            self._arrays[name] = writable(array)
            values = view(self._arrays[name]).reshape(-1)
            if np.issubdtype(values.dtype, np.floating):
                wide = np.result_type(values.dtype, np.float32)
                values = values.astype(wide, copy=False)  # otherwise the sum is computed in place
            self._sums[name] = values

    def _add(self, record: ArrayRecord, factor: float) -> None:
        arrays = {name: view(array).reshape(-1) for name, array in record.items()}

        def fold(name: str, part: slice) -> None:
            sums, values = self._sums[name][part], arrays[name][part]
            if not np.issubdtype(sums.dtype, np.floating):
                np.maximum(sums, values, out=sums)
                return
            with np.errstate(over="ignore", invalid="ignore"):
                sums += values if factor == 1 else values * sums.dtype.type(factor)

        in_threads({name: array.size for name, array in arrays.items()}, fold)
