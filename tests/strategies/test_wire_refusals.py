"""Updates that a packed format cannot carry, or that are not what was asked for."""

from itertools import permutations

import numpy as np
import pytest

from strategies.layout import Layout
from strategies.wire_format import FORMATS, SCALE, WireError, pack_record, unpack_record
from tests.strategies.packing import PACKED, linear, model, moved, pack, unpack


@pytest.mark.parametrize(
    "form, change",
    [
        *((form, value) for form in PACKED for value in (np.nan, np.inf, -np.inf)),
        ("bfloat16", 3.4e38),  # rounds to infinity: bfloat16's largest is 3.3895e38
        ("int8", np.finfo(np.float32).max),  # 127 · (max/127) is above it
    ],
)
def test_a_change_that_is_not_finite_or_overflows_does_not_leave(form: str, change: float) -> None:
    with pytest.raises(WireError, match="update of its array 'w' is not finite, or overflows"):
        pack(linear([0, change]), linear([0, 0]), form)


@pytest.mark.parametrize("form", PACKED)
def test_a_difference_that_overflows_does_not_leave(form: str) -> None:
    with pytest.raises(WireError, match="'w' is not finite, or overflows"):
        pack(linear([3e38]), linear([-3e38]), form)
    with pytest.raises(WireError, match="'bias' is not finite, or overflows"):
        pack({"bias": np.float32([3e38])}, {"bias": np.float32([-3e38])}, form)


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0x7F7F], ids=["NaN", "infinity", "overflow"])
def test_bfloat16_that_is_not_finite_is_refused(bits: int) -> None:
    """0x7F7F is bfloat16's largest number: finite, but not on top of 3e38."""
    packed = {"w": np.array([[0, bits]], np.uint16)}
    with pytest.raises(WireError, match="update of its array 'w' is not finite, or overflows"):
        unpack(packed, linear([0, 3e38]))


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf])
def test_scales_that_are_none_are_refused(scale: float) -> None:
    packed = {"w": np.ones((2, 2), np.int8), "w" + SCALE: np.float32([1, scale])}
    with pytest.raises(WireError, match="'w:scale' is not a valid scale"):
        unpack(packed, linear([0, 0], [0, 0]))


def test_int8_that_overflows_is_refused() -> None:
    packed = {"w": np.full((1, 1), 127, np.int8), "w" + SCALE: np.float32([3e38])}
    with pytest.raises(WireError, match="update of its array 'w' is not finite, or overflows"):
        unpack(packed, linear([0]))


@pytest.mark.parametrize("sent, asked", [p for p in permutations(FORMATS, 2) if p[1] != "float32"])
def test_a_client_that_switches_format_is_refused_by_its_format(sent: str, asked: str) -> None:
    layout, trained = Layout.of(model()), moved(model())
    plain = layout.flatten(trained)
    packed = plain if sent == "float32" else pack_record(trained, model(), {}, sent)
    with pytest.raises(WireError, match=f"sent as {sent}, but {asked} was asked for"):
        unpack_record(packed, layout.flatten(model()), layout, asked)
