"""Records of packed updates, written directly into the bytes that are sent, and read from them."""

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
        if other != wire_format and found == _packed(layout, other).flat_signature():
            raise WireError(f"its update is sent as {other}, but {wire_format} was asked for")
    arrays = _packed(layout, wire_format).views(packed)
    blank = FlatBlank(layout)
    unpack_into(blank.values, arrays, layout.views(sent), wire_format)
    return blank.finish()


def _packed(layout: Layout, wire_format: str) -> Layout:
    return Layout(signature(layout.signature, wire_format))
