"""How a client's update travels: as whole weights, or as a smaller difference to the global ones.

- ``float32``: the weights as they are, bit for bit.
- ``bfloat16``: the difference, each value rounded to the nearest bfloat16, ties to even: wrong by
  at most 2⁻⁸ of itself. The bits travel as uint16, since NumPy knows no bfloat16.
- ``int8``: the difference in 255 steps, for each channel of a scale of its own, max|Δ|/127: wrong
  by at most half a step, max|Δ|/254. Channels are the places on the first axis; of a matrix that
  is higher than wide, such as one of LoRA's two, its columns, or there would be a scale for every
  few values. What is lost is kept by the client and added to its next difference (error feedback:
  Seide et al., 1-Bit Stochastic Gradient Descent, 2014; Karimireddy et al., Error Feedback Fixes
  SignSGD, 2019), so that over the rounds no more than the last round's error is ever missing.

To that comes float32's own rounding, of a difference and of a sum. Floats with fewer than two axes
are few and touchy: BatchNorm's variance, for one, must not be rounded below zero. They travel as
float32 differences, whose rounding cannot do that. Integers travel whole.

Both directions write into arrays that the caller brings, such as the bytes of a message, in one
pass over each array, and hold nothing else but a few megabytes: no copy of a model is made here.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from strategies.layout import Signature

FORMATS = ("float32", "bfloat16", "int8")
SCALE = ":scale"

_LEVELS = 127
# Values packed at a time: what is computed on the way stays in a core's cache.
_CHUNK = 1 << 18
# The smallest bits of a float32 above all that round to a finite bfloat16; NaN's are larger.
_BFLOAT16_OVERFLOW = 0x7F7F8000


class WireError(ValueError):
    """An update that cannot travel, or that does not fit, in one line that names the array."""


def signature(whole: Mapping[str, tuple[str, tuple[int, ...]]], wire_format: str) -> Signature:
    """Return what travels for arrays of a signature: of ``int8`` the scales too, ``<name>:scale``.

    Args:
        whole: dtype and shape of the global weights by name.
        wire_format: of ``FORMATS``.
    """
    travelling: Signature = {}
    for name, (dtype, shape) in whole.items():
        travelling[name] = (dtype, shape)
        if wire_format == "float32" or not np.issubdtype(np.dtype(dtype), np.floating):
            continue
        if len(shape) < 2:
            travelling[name] = ("float32", shape)
        elif wire_format == "bfloat16":
            travelling[name] = ("uint16", shape)
        else:
            travelling[name] = ("int8", shape)
            channels = min(shape) if len(shape) == 2 else shape[0]
            travelling[name + SCALE] = ("float32", (channels,))
    return travelling


def signature_of(arrays: Mapping[str, NDArray]) -> Signature:
    """Return the signature of arrays."""
    return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}


def pack_into(
    out: Mapping[str, NDArray],
    trained: Mapping[str, NDArray],
    received: Mapping[str, NDArray],
    residual: dict[str, NDArray],
) -> None:
    """Write the difference between trained and received weights as it travels.

    Args:
        out: where to; C-ordered, with the `signature` of ``received`` in the format that is
            wanted, ``bfloat16`` or ``int8``.
        trained: weights of the names, shapes and dtypes of ``received``.
        received: the global weights.
        residual: of ``int8`` what the rounds before left over, float32 by name; what this one
            leaves takes its place, in the same arrays. An absent one is zero. Else not looked at.

    Raises:
        WireError: a difference is NaN or infinite, or larger than the format can say.
    """
    for name, base in received.items():
        if not np.issubdtype(base.dtype, np.floating):
            np.copyto(out[name], trained[name])
            continue
        scale = out.get(name + SCALE)
        sent, ours, theirs = (_table(a[name], scale) for a in (out, trained, received))
        if scale is not None:
            if name not in residual:
                residual[name] = np.zeros(base.shape, np.float32)
            kept = _table(residual[name], scale)
        for block in _blocks(theirs):
            with np.errstate(over="ignore", invalid="ignore"):
                wide = np.result_type(base.dtype, np.float32)
                change = np.subtract(ours[block], theirs[block], dtype=wide)
                change = change.astype(np.float32, copy=False)
                if scale is not None:
                    change += kept[block]
                    fits = _quantise(sent[block], scale[block], change)
                    kept[block] = change
                elif base.ndim > 1:
                    fits = _round(sent[block], change)
                else:
                    sent[block] = change
                    fits = bool(np.isfinite(change).all())
            if not fits:
                raise WireError(f"the update of its array {name!r} is not finite, or overflows")


def unpack_into(
    out: Mapping[str, NDArray],
    packed: Mapping[str, NDArray],
    received: Mapping[str, NDArray],
    wire_format: str,
) -> None:
    """Write the weights that a client's update makes of the global ones.

    Args:
        out: where to; C-ordered, of the names, shapes and dtypes of ``received``.
        packed: what travelled.
        received: the global weights that the client was sent.
        wire_format: which was asked for, ``bfloat16`` or ``int8``.

    Raises:
        WireError: the update is in another format or of other arrays, a scale is negative, or
            something is not finite, or overflows. ``out`` is then worthless.
    """
    _check_signature(signature_of(packed), signature_of(received), wire_format)
    for name, base in received.items():
        if not np.issubdtype(base.dtype, np.floating):
            np.copyto(out[name], packed[name])
            continue
        scale = packed.get(name + SCALE)
        result, sent, theirs = (_table(a[name], scale) for a in (out, packed, received))
        if scale is not None and not ((scale >= 0) & np.isfinite(scale)).all():
            raise WireError(f"its array {name + SCALE!r} is not a valid scale")
        for block in _blocks(theirs):
            with np.errstate(over="ignore", invalid="ignore"):
                if scale is not None:
                    change = sent[block] * scale[block, None]
                elif base.ndim > 1:
                    change = (sent[block].astype(np.uint32) << 16).view(np.float32)
                else:
                    change = sent[block]
                np.add(theirs[block], change, out=result[block], casting="same_kind")
            if not np.isfinite(result[block]).all():
                raise WireError(f"the update of its array {name!r} is not finite, or overflows")


def _check_signature(found: Signature, whole: Signature, wire_format: str) -> None:
    expected = signature(whole, wire_format)
    if found == expected:
        return
    for other in FORMATS:
        if found == signature(whole, other):
            raise WireError(f"its update is sent as {other}, but {wire_format} was asked for")
    name = min(name for name, _ in found.items() ^ expected.items())
    raise WireError(f"its array {name!r} is not part of the update, or not in {wire_format}")


def _quantise(sent: NDArray, scale: NDArray, change: NDArray) -> bool:
    """Write steps and scales of a difference, and leave in it what they do not say."""
    np.divide(np.abs(change).max(axis=1, initial=0), _LEVELS, out=scale)
    # A channel that does not change has no scale; 0/0 would be no number.
    steps = np.rint(change / np.where(scale > 0, scale, 1)[:, None])
    # A scale so small that it was itself rounded down may lie a step below the largest value.
    np.clip(steps, -_LEVELS, _LEVELS, out=steps)
    np.copyto(sent, steps, casting="unsafe")
    change -= steps * scale[:, None]
    return bool(np.isfinite(scale * _LEVELS).all())


def _round(sent: NDArray, change: NDArray) -> bool:
    """Write the upper halves of a difference's bits, rounded to nearest, ties to even."""
    bits = change.view(np.uint32)
    fits = not ((bits & 0x7FFFFFFF) >= _BFLOAT16_OVERFLOW).any()
    np.copyto(sent, (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16, casting="unsafe")
    return fits


def _table(array: NDArray, scale: NDArray | None) -> NDArray:
    """Return a view (channels, values of each); with fewer than two axes it is one row."""
    if scale is not None and array.ndim == 2 and len(scale) < array.shape[0]:
        return array.T
    rows = array.shape[0] if array.ndim > 1 else 1
    return array.reshape(rows, array.size // max(1, rows))


def _blocks(table: NDArray) -> Iterator[slice]:
    """Give the rows of a table in pieces of some megabytes at most, if a row is not larger."""
    rows, columns = table.shape
    step = max(1, _CHUNK // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, start + step)
