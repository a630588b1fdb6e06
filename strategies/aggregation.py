"""The mean of several models' named arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Values summed at a time: the pieces and their sum stay in a core's cache, so that each value is
# read from memory once and the check for NaN costs next to nothing. Measured: 1 MiB pieces.
CHUNK = 1 << 18


class NotFinite(ValueError):
    """A mean that is not finite, although it must be."""


def mean_into(out: NDArray, arrays: Sequence[NDArray], weights: Sequence[float]) -> None:
    """Write the weighted mean of arrays of one shape and dtype into an array of the same.

    Floats are summed in the given order, in float32 or their own dtype if that is wider, and
    divided by the sum of the weights; with equal weights this is (1/M) Σ w_i. Integers, such as
    BatchNorm's counters, have no mean: they are kept where all agree, else the maximum is taken.
    Besides ``out`` at most a megabyte is held.

    Args:
        out: where the mean goes; C-ordered.
        arrays: M ≥ 1 arrays, read only.
        weights: M positive weights; where all are equal their value does not matter.

    Raises:
        NotFinite: the mean of floats is NaN or infinite somewhere.
    """
    if not np.issubdtype(out.dtype, np.floating):
        np.copyto(out, arrays[0])
        for array in arrays[1:]:
            np.maximum(out, array, out=out)
        return
    equal = all(weight == weights[0] for weight in weights)
    wide = np.result_type(out.dtype, np.float32).type
    divisor = wide(len(arrays) if equal else sum(weights))
    factors = [wide(1 if equal else weight) for weight in weights]
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
                np.multiply(pieces[0][part], factors[0], out=sums)
                rest = 1
            for piece, factor in zip(pieces[rest:], factors[rest:], strict=True):
                sums += piece[part] if equal else piece[part] * factor
            sums /= divisor
            if sums.dtype != out.dtype:
                result[part] = sums
            # NaN and infinity survive a sum of squares, so one finite sum clears the whole piece;
            # that of large finite values may overflow, so what looks bad is looked at one by one.
            if not np.isfinite(np.dot(sums, sums)) and not np.isfinite(result[part]).all():
                raise NotFinite
