"""The mean of several models' named arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

# Values summed at a time: the pieces and their sum stay in a core's cache, so that each value is
# read from memory once and the check for NaN costs next to nothing. Measured: 1 MiB pieces.
CHUNK = 1 << 18
# Values that a thread takes at a time.
_SHARE = 1 << 22


class NotFinite(ValueError):
    """A mean that is not finite, although it must be."""


def mean_into(out: NDArray, arrays: Sequence[NDArray], weights: Sequence[float]) -> None:
    """Write the weighted mean of arrays of one shape and dtype into an array of the same.

    Floats are summed in the given order, in float32 or their own dtype if that is wider, each times
    its weight in units of the first one's, and divided by the sum of those; with equal weights this
    is (1/M) Σ w_i. Integers, such as
    BatchNorm's counters, have no mean: they are kept where all agree, else the maximum is taken.
    Besides ``out`` at most a megabyte is held.

    Args:
        out: where the mean goes; C-ordered.
        arrays: M ≥ 1 arrays, read only.
        weights: M positive weights.

    Raises:
        NotFinite: the mean of floats is NaN or infinite somewhere.
    """
    if not np.issubdtype(out.dtype, np.floating):
        np.copyto(out, arrays[0])
        for array in arrays[1:]:
            np.maximum(out, array, out=out)
        return
    wide = np.result_type(out.dtype, np.float32).type
    factors = [weight / weights[0] for weight in weights]
    equal = set(factors) == {1.0}
    divisor = wide(sum(factors))
    result = out.reshape(-1)
    pieces = [array.reshape(-1) for array in arrays]
    # Overflow and NaN are looked for below, so NumPy need not warn of them as well.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, result.size, CHUNK):
            part = slice(start, start + CHUNK)
            # Where the dtype is its own sum's dtype this is a view: the sum is made in place.
            sums = result[part].astype(wide, copy=False)
            # The first array is not added to a zero: one model's mean is itself, bit for bit.
            if equal and len(pieces) > 1:
                np.add(pieces[0][part], pieces[1][part], out=sums, dtype=wide)
                rest = 2
            else:
                np.copyto(sums, pieces[0][part])
                rest = 1
            for piece, factor in zip(pieces[rest:], factors[rest:], strict=True):
                sums += piece[part] if equal else piece[part] * wide(factor)
            sums /= divisor
            if sums.dtype != out.dtype:
                result[part] = sums
            if not _finite(sums) and not np.isfinite(result[part]).all():
                raise NotFinite


def is_finite(array: NDArray) -> bool:
    """Tell whether an array holds neither NaN nor infinity. Holds at most a megabyte."""
    if not np.issubdtype(array.dtype, np.floating):
        return True
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return all(
            _finite(flat[start : start + CHUNK]) or np.isfinite(flat[start : start + CHUNK]).all()
            for start in range(0, flat.size, CHUNK)
        )


def in_threads(sizes: Mapping[str, int], work: Callable[[str, slice], object]) -> None:
    """Have threads work on arrays side by side, a share of one's values at a time.

    NumPy computes outside the interpreter's lock. Each value is one thread's, so that no result
    depends on their number.

    Args:
        sizes: numbers of values, by name.
        work: on some values of the array that is named.
    """
    shares = shares_of(sizes)
    shares.sort(key=lambda share: share[1].start - share[1].stop)  # so that they end together
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda share: work(*share), shares))


def shares_of(sizes: Mapping[str, int]) -> list[tuple[str, slice]]:
    """Cut arrays into the parts that a thread takes, in order; a part starts at a whole `CHUNK`."""
    return [
        (name, slice(start, min(start + _SHARE, size)))
        for name, size in sizes.items()
        for start in range(0, size, _SHARE)
    ]


def blocks(part: slice) -> Iterator[slice]:
    """Cut a part of an array into pieces of `CHUNK` values."""
    for start in range(part.start, part.stop, CHUNK):
        yield slice(start, min(start + CHUNK, part.stop))


def _finite(values: NDArray) -> bool:
    """Tell whether values are finite; of large ones it may say that they are not.

    NaN and infinity survive a sum of squares, so one finite sum clears them all.
    """
    return bool(np.isfinite(np.dot(values, values)))
