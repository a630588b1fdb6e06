"""Updates packed and unpacked: their size, their error, and refusals."""

from typing import Any, get_args

import numpy as np
import pytest
import torch

from models.backbones import build_on_meta
from strategies.layout import Layout
from strategies.wire_format import (
    FORMATS,
    SCALE,
    Signature,
    pack_record,
    signature,
    unpack_record,
)
from tests.strategies.packing import PACKED, linear, model, moved, pack, there_and_back, unpack
from tests.support import assert_same_bits
from training.config import ExperimentConfig


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
    back = unpack(packed, received)["w"]
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
    back = unpack(packed, received)["w"]
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
        total += unpack(packed, received)["w"][0, 1]
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


@pytest.mark.parametrize("wire_format", ["bfloat16", "int8"])
def test_an_update_of_no_arrays_is_one_in_every_format(wire_format: str) -> None:
    """If every array stays at the clients."""
    nothing = Layout.of({})
    packed = pack_record({}, {}, {}, wire_format)
    assert len(unpack_record(packed, nothing.flatten({}), nothing, wire_format)) == 0
