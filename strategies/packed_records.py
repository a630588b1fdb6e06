"""Records of packed updates: written straight into the bytes that travel, and read from them."""

from collections.abc import Mapping

from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.arrays import views
from strategies.layout import FlatBlank, Layout
from strategies.wire_format import FORMATS, WireError, pack_into, signature, unpack_into


def pack_record(
    trained: Mapping[str, NDArray],
    received: Mapping[str, NDArray],
    residual: dict[str, NDArray],
    wire_format: str,
) -> ArrayRecord:
    """Return the record that says how trained weights differ from received ones, end to end.

    Holds nothing of a model's size but the record.

    Args:
        trained, received, residual: as of `pack_into`; the residual is changed.
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
    """Return the record of the weights that a packed update makes of the global ones.

    Holds nothing of a model's size but the records.

    Args:
        packed: what travelled.
        sent: the global weights that the client was sent, end to end.
        layout: theirs.
        wire_format: which was asked for, ``bfloat16`` or ``int8``.

    Raises:
        WireError: the update does not fit; see `unpack_into`.
        ValueError: an array of it cannot be read.
    """
    found = Layout.of(views(packed)).signature
    for other in FORMATS:
        if other != wire_format and found == _packed(layout, other).flat_signature():
            raise WireError(f"its update is sent as {other}, but {wire_format} was asked for")
    arrays = _packed(layout, wire_format).views(packed)
    blank = FlatBlank(layout)
    unpack_into(blank.values, arrays, layout.views(sent), wire_format)
    return blank.finish()


def _packed(layout: Layout, wire_format: str) -> Layout:
    return Layout(signature(layout.signature, wire_format))
