"""Packing a client's update for sending."""

from collections.abc import Mapping

from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fl_client.client import Client
from strategies.layout import Layout
from strategies.wire_format import pack_record
from training.round_files import RoundFiles
from training.weights import Weights, load_weights, save_weights


def pack_update(
    client: Client,
    trained: Mapping[str, NDArray],
    received: Mapping[str, NDArray],
    layout: Layout,
    round_number: int,
    counted: int,
) -> ArrayRecord:
    """Return the record with the client's update, in the config's ``wire-format``.

    With ``int8`` the rounding error is stored in the client's folder ``residual``, by round, for
    the next round; see `RoundFiles`. Needs memory for the record, and with ``int8`` for one more
    model: the residual, which is read, changed in place and written.

    Args:
        trained: weights after training.
        received: the global weights before training; not used with ``float32``.
        round_number: counted from 1 over the whole run.
        counted: the last round in which this client's reply counted: the rounding error of a lost
            one is lost with it.

    Raises:
        WireError: the update is not finite, or too large for the format.
        RunFolderError: the residual is damaged.
    """
    wire_format = client.config.wire_format
    if wire_format == "float32":
        return layout.flatten(trained)
    residuals = RoundFiles(client.folder / "residual")
    residual: Weights = {}
    residuals.forget(after=counted, before=round_number)
    if wire_format == "int8" and (newest := residuals.newest(before=round_number)):
        residual = load_weights(newest[1])
    record = pack_record(trained, received, residual, wire_format)
    if wire_format == "int8":
        with residuals.saving(round_number) as temporary:
            save_weights(temporary, residual)
    return record
