"""Updates packed and unpacked: their size, their error, and refusals."""

from itertools import permutations
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.backbones import build_on_meta
from strategies.wire_format import (
    FORMATS,
    SCALE,
    Signature,
    WireError,
    pack_into,
    signature,
    signature_of,
    unpack_into,
)
from tests.support import assert_same_bits
from training.config import ExperimentConfig

Weights = dict[str, NDArray]
PACKED = ("bfloat16", "int8")


def blank(wanted: Signature) -> Weights:
    """Arrays to write to, full of what must not stay."""
    return {name: np.full(shape, 77, dtype) for name, (dtype, shape) in wanted.items()}


def pack(
    trained: Weights, received: Weights, form: str, residual: Weights | None = None
) -> Weights:
    out = blank(signature(signature_of(received), form))
    pack_into(out, trained, received, {} if residual is None else residual)
    return out


def unpack(packed: Weights, received: Weights, form: str) -> Weights:
    out = blank(signature_of(received))
    unpack_into(out, packed, received, form)
    return out


def there_and_back(trained: Weights, received: Weights, form: str) -> Weights:
    return unpack(pack(trained, received, form), received, form)


def model(seed: int = 0, scale: float = 1.0) -> Weights:
    """A bit of everything: a convolution, matrices, a bias, a number, BatchNorm's counter."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"conv": (4, 3, 5, 5), "linear": (6, 40), "high": (40, 6)}
    shapes |= {"bias": (6,), "temperature": ()}
    arrays = {n: np.asarray(scale * rng.normal(size=s), np.float32) for n, s in shapes.items()}
    return {**arrays, "counter": np.array(seed + 7)}


def moved(received: Weights, by: float = 0.01, seed: int = 1) -> Weights:
    """The same after training: floats have moved by about ``by``, the counter has counted."""
    change = model(seed, by)
    return {name: array + change[name] for name, array in received.items()}


def linear(*rows: list[float], dtype: Any = np.float32) -> Weights:
    return {"w": np.array(rows, dtype)}


def test_the_config_knows_these_formats() -> None:
    assert get_args(ExperimentConfig.model_fields["wire_format"].annotation) == FORMATS


def test_what_travels() -> None:
    whole: Signature = {
        "conv": ("float32", (4, 3, 5, 5)),
        "half": ("float16", (2, 2)),
        "high": ("float32", (40, 6)),
        "bias": ("float64", (6,)),
        "temperature": ("float32", ()),
        "counter": ("int64", (3, 3)),
    }
    assert signature(whole, "float32") == whole
    assert signature(whole, "bfloat16") == {
        **whole,
        "conv": ("uint16", (4, 3, 5, 5)),
        "half": ("uint16", (2, 2)),
        "high": ("uint16", (40, 6)),
        "bias": ("float32", (6,)),
    }
    assert signature(whole, "int8") == {
        **whole,
        "conv": ("int8", (4, 3, 5, 5)),
        "conv" + SCALE: ("float32", (4,)),
        "half": ("int8", (2, 2)),
        "half" + SCALE: ("float32", (2,)),
        "high": ("int8", (40, 6)),
        "high" + SCALE: ("float32", (6,)),
        "bias": ("float32", (6,)),
    }


@pytest.mark.parametrize("form, at_most", [("float32", 1.0), ("bfloat16", 0.51), ("int8", 0.27)])
@pytest.mark.parametrize(
    "backbone, trainable, megabytes",
    [
        ("convnext_t", "all", 111.3),
        ("convnext_t", "head", 0.0215),
        ("convnext_t", "adapter", 0.320),
        ("convnext_t", "lora", 2.14),
        ("vit_l_16", "lora", 12.61),
    ],
)
def test_sizes_of_real_networks(
    backbone: str, trainable: str, megabytes: float, form: str, at_most: float
) -> None:
    """Their arrays need no memory on the device meta."""
    network = build_on_meta(backbone, 7, trainable=trainable)
    whole = {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in network.sent_part().items()
    }

    def size(arrays: Signature) -> int:
        return sum(np.dtype(d).itemsize * int(np.prod(s)) for d, s in arrays.values())

    assert size(whole) / 1e6 == pytest.approx(megabytes, rel=0.01)
    assert size(signature(whole, form)) <= at_most * size(whole)


@pytest.mark.parametrize(
    "change, expected",
    [
        (1.0, 1.0),
        # 8 bits of significand: beside 1 the next number is 1 + 2⁻⁷; ties go to the even one.
        (1 + 2**-8, 1.0),
        (1 + 2**-8 + 2**-20, 1 + 2**-7),
        (1 + 3 * 2**-8, 1 + 2**-6),
        (-(1 + 2**-8), -1.0),
        (2.0**-140, 0.0),  # bfloat16's smallest is 2⁻¹³³
        (-0.0, 0.0),
    ],
)
def test_bfloat16_rounds_to_nearest_even(change: float, expected: float) -> None:
    assert there_and_back(linear([change]), linear([0.0]), "bfloat16")["w"].item() == expected


def test_bfloat16_is_torchs() -> None:
    values = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    packed = pack({"w": values}, {"w": np.zeros_like(values)}, "bfloat16")["w"]
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy()
    assert (packed.view(np.int16) == theirs).all()


def test_int8_by_hand() -> None:
    """Each row has its own scale, max|Δ|/127; 0.4 steps are none, 0.6 are one."""
    received, residual = linear([1, 1, 1, 1], [0, 0, 0, 0], [5, 5, 5, 5]), {}
    trained = linear([1 + 127, 1 - 127, 1 + 0.4, 1 + 0.6], [0, 254, -2.8, 0], [5, 5, 5, 5])
    packed = pack(trained, received, "int8", residual)
    assert packed["w"].tolist() == [[127, -127, 0, 1], [0, 127, -1, 0], [0, 0, 0, 0]]
    assert packed["w" + SCALE].tolist() == [1, 2, 0]
    np.testing.assert_allclose(
        residual["w"], [[0, 0, 0.4, -0.4], [0, 0, -0.8, 0], [0] * 4], atol=1e-6
    )
    back = unpack(packed, received, "int8")["w"]
    assert back.tolist() == [[128, -126, 1, 2], [0, 254, -2, 0], [5, 5, 5, 5]]


def test_int8_of_a_high_matrix_by_hand() -> None:
    """The same changes, turned: a column has a scale, and what it leaves over."""
    received, residual = linear([1, 0], [1, 0], [1, 0], [1, 0]), {}
    trained = linear([1 + 127, 0], [1 - 127, 254], [1 + 0.4, -2.8], [1 + 0.6, 0])
    packed = pack(trained, received, "int8", residual)
    assert packed["w"].tolist() == [[127, 0], [-127, 127], [0, -1], [1, 0]]
    assert packed["w" + SCALE].tolist() == [1, 2]
    left_over = [[0, 0], [0, 0], [0.4, -0.8], [-0.4, 0]]
    np.testing.assert_allclose(residual["w"], left_over, atol=1e-6)
    back = unpack(packed, received, "int8")["w"]
    assert back.tolist() == [[128, 0], [-126, 254], [1, -2], [2, 0]]


@pytest.mark.parametrize("form", PACKED)
def test_no_value_is_more_wrong_than_the_format_says(form: str) -> None:
    """bfloat16: 2⁻⁸ of the difference. int8: half of its channel's step, max|Δ|/254.

    And of float32's own rounding, in the difference and in the sum, each at most 2⁻²⁴ of a value.
    """
    received = model()
    trained = moved(received)
    for name, back in there_and_back(trained, received, form).items():
        change = np.abs(trained[name] - received[name])
        bound = np.zeros_like(change)
        if change.ndim > 1 and form == "bfloat16":
            bound = change * 2.0**-8
        elif change.ndim > 1:
            within = 0 if name == "high" else tuple(range(1, change.ndim))
            bound = change.max(axis=within, keepdims=True) / 254
        rounding = 2.0**-23 * (np.abs(trained[name]) + np.abs(received[name]))
        assert (np.abs(back - trained[name]) <= 1.0001 * bound + rounding).all(), name


@pytest.mark.parametrize("form", PACKED)
def test_what_did_not_change_stays_to_the_bit(form: str) -> None:
    assert_same_bits(there_and_back(model(), model(), form), model())


@pytest.mark.parametrize("form", PACKED)
def test_integers_and_their_dtypes_travel_whole(form: str) -> None:
    received = {"counter": np.array(3), "mask": np.array([[True, False]])}
    trained = {"counter": np.array(2**40 + 1), "mask": np.array([[False, True]])}
    assert_same_bits(there_and_back(trained, received, form), trained)


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_keep_their_dtype(form: str, dtype: Any) -> None:
    """A difference of 127 says itself in either format."""
    received, trained = linear([1, 2], dtype=dtype), linear([128, 2], dtype=dtype)
    assert_same_bits(there_and_back(trained, received, form), trained)


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize(
    "shape", [(0, 3), (3, 0), (0,), (1, 1), (3, 700_000), (700_000, 3), (3, 0, 2)]
)
def test_any_shape_travels(form: str, shape: tuple[int, ...]) -> None:
    """Also one of no values, and one whose channels are longer than what is packed at a time."""
    trained = {"w": np.ones(shape, np.float32)}
    assert_same_bits(there_and_back(trained, {"w": np.zeros(shape, np.float32)}, form), trained)


@pytest.mark.parametrize("form", PACKED)
def test_a_variance_that_vanishes_is_not_rounded_below_zero(form: str) -> None:
    """1.3 − bfloat16(1.3) = −0.002: such a variance would be BatchNorm's NaN."""
    received, trained = {"var": np.float32([1.3])}, {"var": np.float32([1e-9])}
    assert there_and_back(trained, received, form)["var"].item() >= 0


def test_error_feedback_makes_the_mean_of_the_rounds_right() -> None:
    """A change of (127, 0.3) in every round: a step is 1, and 0.3 is no step.

    Without feedback the second value would never move. With it, what is sent in T rounds and what
    is still kept are T·0.3 together, and no more than half a step is kept: the mean is wrong by at
    most 0.5/T.
    """
    received, residual, total = linear([0, 0]), {}, 0.0
    for rounds in range(1, 41):
        packed = pack(linear([127, 0.3]), received, "int8", residual)
        total += unpack(packed, received, "int8")["w"][0, 1]
        kept = residual["w"][0, 1]
        assert total + kept == pytest.approx(rounds * 0.3, abs=1e-4)
        assert abs(kept) <= 0.5 + 1e-4
    assert total / 40 == pytest.approx(0.3, abs=0.5 / 40 + 1e-4)


def test_the_residual_keeps_its_memory() -> None:
    """Models reach 1.2 GB: a second residual beside the first would be as much."""
    residual = {"w": np.ones((2, 2), np.float32)}
    before = residual["w"]
    pack(linear([3, 1], [1, 1]), linear([0, 0], [0, 0]), "int8", residual)
    assert residual["w"] is before


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
        unpack(packed, linear([0, 3e38]), "bfloat16")


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf])
def test_scales_that_are_none_are_refused(scale: float) -> None:
    packed = {"w": np.ones((2, 2), np.int8), "w" + SCALE: np.float32([1, scale])}
    with pytest.raises(WireError, match="'w:scale' is not a valid scale"):
        unpack(packed, linear([0, 0], [0, 0]), "int8")


def test_int8_that_overflows_is_refused() -> None:
    packed = {"w": np.full((1, 1), 127, np.int8), "w" + SCALE: np.float32([3e38])}
    with pytest.raises(WireError, match="update of its array 'w' is not finite, or overflows"):
        unpack(packed, linear([0]), "int8")


@pytest.mark.parametrize("sent, asked", [p for p in permutations(FORMATS, 2) if p[1] != "float32"])
def test_a_client_that_switches_format_is_refused_by_its_format(sent: str, asked: str) -> None:
    packed = model() if sent == "float32" else pack(moved(model()), model(), sent)
    with pytest.raises(WireError, match=f"sent as {sent}, but {asked} was asked for"):
        unpack(packed, model(), asked)


@pytest.mark.parametrize(
    "wrong",
    [
        {"linear": np.zeros((6, 40), np.uint8)},
        {"linear": np.zeros((6, 41), np.int8)},
        {"linear:scale": np.zeros(7, np.float32)},
        {"extra": np.zeros(1, np.float32)},
    ],
    ids=["dtype", "shape", "scales", "surplus"],
)
def test_other_arrays_are_refused_by_name(wrong: Weights) -> None:
    packed = pack(moved(model()), model(), "int8") | wrong
    said = f"its array '{next(iter(wrong))}' is not part of the update"
    with pytest.raises(WireError, match=said):
        unpack(packed, model(), "int8")


def test_a_missing_array_is_refused_by_name() -> None:
    packed = pack(moved(model()), model(), "int8")
    del packed["bias"]
    with pytest.raises(WireError, match="its array 'bias' is not part of the update"):
        unpack(packed, model(), "int8")
