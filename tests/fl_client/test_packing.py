"""Packing a client's trained weights, and the residual for the next round."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.packing import pack_update
from strategies.layout import Layout
from strategies.wire_format import WireError, signature, unpack_into
from tests.support import assert_same_bits, make_client, make_config, same_bits
from training.errors import RunFolderError

Weights = dict[str, NDArray]


def made(folder: Path, form: str) -> Client:
    return make_client(folder, make_config(wire_format=form))


def received() -> Weights:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 9)), "bias": rng.normal(size=4)}
    return {name: array.astype(np.float32) for name, array in weights.items()}


def trained(round_number: int) -> Weights:
    rng = np.random.default_rng(round_number)
    return {name: a + rng.normal(size=a.shape).astype("f4") for name, a in received().items()}


def packed(client: Client, round_number: int, counted: int | None = None) -> Weights:
    """Without ``counted`` every reply before has counted."""
    counted = round_number - 1 if counted is None else counted
    layout = Layout.of(received())
    record = pack_update(client, trained(round_number), received(), layout, round_number, counted)
    return Layout(signature(layout.signature, client.config.wire_format)).views(record)


def kept(client: Client) -> list[str]:
    return sorted(path.name for path in (client.folder / "residual").glob("*"))


def test_float32_is_the_weights_themselves(tmp_path: Path) -> None:
    """To the byte, end to end, and nothing is kept."""
    client = made(tmp_path, "float32")
    layout = Layout.of(trained(1))
    record = pack_update(client, trained(1), {}, layout, 1, 0)
    plain = layout.flatten(trained(1))
    assert {n: a.data for n, a in record.items()} == {n: a.data for n, a in plain.items()}
    assert not client.folder.exists()


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
def test_a_difference_travels_and_comes_back(tmp_path: Path, form: str) -> None:
    update = packed(made(tmp_path, form), 1)
    assert Layout.of(update).signature == signature(Layout.of(received()).signature, form)
    whole = {name: np.empty_like(array) for name, array in received().items()}
    unpack_into(whole, update, received())
    for name, array in trained(1).items():
        # Normal changes are below 4: half a step of int8 is below 4/254, 2⁻⁸ of 4 likewise.
        assert np.abs(whole[name] - array).max() < 0.016


def test_bfloat16_keeps_nothing(tmp_path: Path) -> None:
    client = made(tmp_path, "bfloat16")
    packed(client, 1)
    assert not client.folder.exists()


def test_the_residual_of_a_lost_reply_is_lost(tmp_path: Path) -> None:
    """The server never had what round 2 rounded: round 3 goes on from the residual of round 1."""
    whole, lost = made(tmp_path / "whole", "int8"), made(tmp_path / "lost", "int8")
    for client in (whole, lost):
        packed(client, 1)
    packed(lost, 2)
    assert_same_bits(packed(lost, 3, counted=1), packed(whole, 3, counted=1))
    assert kept(lost) == kept(whole)


def test_the_residual_of_a_round_goes_into_the_next_one(tmp_path: Path) -> None:
    """Two rounds together send two whole changes, except for half a step of the second."""
    client = made(tmp_path, "int8")
    changes = [packed(client, number) for number in (1, 2)]
    told = sum(change["w"] * change["w:scale"][:, None] for change in changes)
    meant = sum(trained(number)["w"] - received()["w"] for number in (1, 2))
    half_a_step = changes[1]["w:scale"][:, None] / 2
    assert (np.abs(told - meant) <= 1.001 * half_a_step + 1e-6).all()
    alone = packed(made(tmp_path / "alone", "int8"), 2)
    assert not same_bits(changes[1], alone), "without the residual the second is another"


def test_a_round_that_is_asked_for_again_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """A kill costs two rounds at most; their residuals are there, and the one they began with."""
    client = made(tmp_path, "int8")
    once = {number: packed(client, number) for number in (1, 2, 3, 4)}
    assert kept(client) == [f"round-{number:05d}.safetensors" for number in (2, 3, 4)]
    for number in (3, 4):
        assert_same_bits(packed(client, number), once[number])


def test_a_client_that_missed_a_round_goes_on_from_the_one_before(tmp_path: Path) -> None:
    missed, other = made(tmp_path / "a", "int8"), made(tmp_path / "b", "int8")
    packed(missed, 1)
    packed(other, 1)
    assert_same_bits(packed(missed, 3), packed(other, 3))
    assert not same_bits(packed(missed, 3), packed(made(tmp_path / "c", "int8"), 3))


def test_an_update_that_overflows_keeps_no_residual(tmp_path: Path) -> None:
    client = made(tmp_path, "int8")
    wild = {**trained(1), "w": np.full((4, 9), np.inf, np.float32)}
    with pytest.raises(WireError, match="'w' is not finite, or overflows"):
        pack_update(client, wild, received(), Layout.of(received()), 1, 0)
    assert not client.folder.exists()


def test_a_damaged_residual_is_told_by_its_file(tmp_path: Path) -> None:
    client = made(tmp_path, "int8")
    packed(client, 1)
    path = client.folder / "residual" / "round-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunFolderError, match=r"round-00001\.safetensors"):
        packed(client, 2)
