"""How a client's update is sent: as whole weights, or as a smaller difference to the global ones.

- ``float32``: the weights as they are, bit for bit.
- ``bfloat16``: the difference, each value rounded to the nearest bfloat16, ties to even: its
    relative error is at most 2⁻⁸. The bits are sent as uint16, since NumPy has no bfloat16.
- ``int8``: the difference in 255 steps; each channel has its own scale, max|Δ|/127, and an error of
    at most half a step, max|Δ|/254. Channels are the indices of the first axis; of a matrix with
    more rows than columns, such as one of LoRA's two, they are the columns, since otherwise there
    would be a scale for every few values. The client keeps the error and adds it to its next
    difference (error feedback: Seide et al., 1-Bit Stochastic Gradient Descent, 2014; Karimireddy
    et al., Error Feedback Fixes SignSGD, 2019), so that over all rounds only the last round's error
    is missing.

float32's own rounding, of a difference and of a sum, is added to that. Floats with fewer than two
axes are few and sensitive: for example, BatchNorm's variance must not be rounded below zero. They
are sent as float32 differences, whose rounding cannot do that. Integers are sent whole.

Both directions write into arrays that the caller provides, such as the bytes of a message, in one
pass over each array. Besides these they need a few megabytes: no copy of a model is made here.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.arrays import views
from strategies.layout import FlatBlank, Layout, Signature

FORMATS = ("float32", "bfloat16", "int8")
SCALE = ":scale"

_LEVELS = 127
# Values packed at a time, so that intermediate results stay in a core's cache.
_CHUNK = 1 << 18
# The smallest bits of a float32 above all that round to a finite bfloat16; NaN's are larger.
_BFLOAT16_OVERFLOW = 0x7F7F8000


class WireError(ValueError):
    """An update that cannot be sent, or does not fit; a one-line message names the array."""


def signature(whole: Mapping[str, tuple[str, tuple[int, ...]]], wire_format: str) -> Signature:
    """Return the signature of the arrays that are sent; ``int8`` adds the scales, ``<name>:scale``.

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


def pack_into(
    out: Mapping[str, NDArray],
    trained: Mapping[str, NDArray],
    received: Mapping[str, NDArray],
    residual: dict[str, NDArray],
) -> None:
    """Write the packed difference between trained and received weights.

    Args:
        out: the target arrays; C-ordered, with the `signature` of ``received`` in the wanted
            format, ``bfloat16`` or ``int8``.
        trained: weights with the names, shapes and dtypes of ``received``.
        received: the global weights.
        residual: for ``int8``, the errors left by earlier rounds, float32 by name; replaced in
            place by those of this round. A missing one is zero. Otherwise ignored.

    Raises:
        WireError: a difference is NaN or infinite, or too large for the format.
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
) -> None:
    """Write the weights that result from the global weights and a client's update.

    Args:
        out: the target arrays; C-ordered, with the names, shapes and dtypes of ``received``.
        packed: the update as received, with the `signature` of ``received`` in some format.

    Raises:
        WireError: a scale is negative, or a value is not finite, or overflows. The content of
            ``out`` is then invalid.
    """
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


def _quantise(sent: NDArray, scale: NDArray, change: NDArray) -> bool:
    """Write steps and scales of a difference, and leave the rounding error in it."""
    np.divide(np.abs(change).max(axis=1, initial=0), _LEVELS, out=scale)
    # A channel without change has scale 0; 0/0 would be NaN.
    steps = np.rint(change / np.where(scale > 0, scale, 1)[:, None])
    # With a scale so small that it was itself rounded down, the largest value may be more than 127
    # steps.
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
    """Yield the rows of a table in pieces of a few megabytes at most, unless a single row is
    larger.
    """
    rows, columns = table.shape
    step = max(1, _CHUNK // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def pack_record(
    trained: Mapping[str, NDArray],
    received: Mapping[str, NDArray],
    residual: dict[str, NDArray],
    wire_format: str,
) -> ArrayRecord:
    """Return a record with the packed difference between trained and received weights,
    concatenated.

    Needs no memory of a model's size except the record.

    Args:
        trained, received, residual: see `pack_into`; the residual is changed.
        wire_format: ``bfloat16`` or ``int8``.

    Raises:
        WireError: the update is not finite, or too large for the format.
    """
    blank = FlatBlank(_packed(Layout.of(received), wire_format))
    pack_into(blank.values, trained, received, residual)
    return blank.finish()


def unpack_record(
    packed: ArrayRecord, sent: ArrayRecord, layout: Layout, wire_format: str
) -> ArrayRecord:
    """Return a record of the weights that result from the global weights and a packed update.

    Needs no memory of a model's size except the records.

    Args:
        packed: the update as received.
        sent: the global weights that the client was sent, concatenated.

    Raises:
        WireError: the update does not fit; see `unpack_into`.
        ValueError: one of its arrays cannot be read.
    """
    found = Layout.of(views(packed)).signature
    for other in FORMATS:
        # An update of no arrays is the same in every format.
        if found and other != wire_format and found == _packed(layout, other).flat_signature():
            raise WireError(f"its update is sent as {other}, but {wire_format} was asked for")
    arrays = _packed(layout, wire_format).views(packed)
    blank = FlatBlank(layout)
    unpack_into(blank.values, arrays, layout.views(sent))
    return blank.finish()


def _packed(layout: Layout, wire_format: str) -> Layout:
    return Layout(signature(layout.signature, wire_format))
