"""Concatenating a model's arrays, and taking them apart again."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord
from numpy.typing import NDArray

from strategies.arrays import to_record, views
from strategies.layout import FlatBlank, Layout, LayoutError
from tests.support import assert_same_bits


def model() -> dict[str, NDArray]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(2, 3, 4)).astype(np.float32),
        "norm.count": np.array(7),
        "norm.weight": rng.normal(size=3).astype(np.float32),
        "empty": np.zeros((0, 5), np.float32),
        "half": rng.normal(size=(2, 2)).astype(np.float16),
        "scale": np.array(-0.0, np.float32),
    }


def test_there_and_back_is_the_same_to_the_bit() -> None:
    layout = Layout.of(model())
    received = Layout.read(layout.record()).views(layout.flatten(model()))
    assert_same_bits(received, model())
    assert list(received) == list(model())


def test_there_is_one_array_for_each_dtype() -> None:
    """2·3·4 + 3 + 0 + 1 = 28 values of float32, in the order of the arrays."""
    record = Layout.of(model()).flatten(model())
    flat = views(record)
    assert {name: array.shape for name, array in flat.items()} == {
        "float32": (28,),
        "int64": (1,),
        "float16": (4,),
    }
    assert Layout.of(model()).flat_signature() == Layout.of(flat).signature
    assert flat["float32"][24:27].tobytes() == model()["norm.weight"].tobytes()


def test_long_arrays_end_with_the_array_that_takes_them_too_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond 100 bytes: 24 values of four end an array with 96, 3 more take it to 108."""
    monkeypatch.setattr("strategies.layout._LONG", 100)
    layout = Layout.of(model())
    record = layout.flatten(model())
    sizes = {name: array.size for name, array in views(record).items()}
    assert sizes == {"float32": 27, "int64": 1, "float32-1": 1, "float16": 4}
    assert layout.flat_signature() == Layout.of(views(record)).signature
    assert_same_bits(layout.views(record), model())


def test_what_is_read_is_not_copied() -> None:
    layout = Layout.of(model())
    record = layout.flatten(model())
    received = layout.views(record)
    assert np.shares_memory(received["conv.weight"], views(record)["float32"])
    assert not received["conv.weight"].flags.writeable


def test_arrays_are_laid_in_the_order_of_the_layout_not_their_own() -> None:
    layout = Layout.of(model())
    turned = dict(reversed(model().items()))
    assert_same_bits(layout.views(layout.flatten(turned)), model())


@pytest.mark.parametrize(
    "changes, culprit",
    [
        ({"conv.weight": np.zeros((2, 3, 5), np.float32)}, "conv.weight"),
        ({"half": np.zeros((2, 2), np.float32)}, "half"),
        ({"more": np.zeros(1)}, "more"),
    ],
)
def test_other_arrays_are_refused_by_name(changes: dict[str, NDArray], culprit: str) -> None:
    with pytest.raises(LayoutError, match=f"^the array '{culprit}' is not as the layout says"):
        Layout.of(model()).flatten({**model(), **changes})


@pytest.mark.parametrize(
    "record",
    [
        to_record({"float32": np.zeros(28, np.float32)}),  # no int64, no float16
        to_record({**{n: np.zeros(2) for n in ("float32", "int64", "float16")}}),
        ArrayRecord(),
    ],
)
def test_arrays_that_are_too_short_or_others_are_refused(record: ArrayRecord) -> None:
    with pytest.raises(LayoutError, match="are not as long as their layout says"):
        Layout.of(model()).views(record)


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ["a", "a"], "dtypes": ["float32"] * 2, "shapes": ["1", "1"]},
        {"names": ["a"], "dtypes": ["float32"] * 2, "shapes": ["1", "1"]},
        {"names": ["a"], "dtypes": ["object"], "shapes": ["1"]},
        {"names": ["a"], "dtypes": ["of no kind"], "shapes": ["1"]},
        {"names": ["a"], "dtypes": ["float32"], "shapes": ["-1"]},
        {"names": ["a"], "dtypes": ["float32"], "shapes": ["1y"]},
        {"names": 1.0, "dtypes": ["float32"], "shapes": ["1"]},
    ],
)
def test_a_damaged_layout_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LayoutError, match="the record 'layout' is missing or damaged"):
        Layout.read(ConfigRecord(changes))  # type: ignore[arg-type]
    with pytest.raises(LayoutError, match="the record 'layout' is missing or damaged"):
        Layout.read(None)


def test_a_blank_is_written_where_it_travels() -> None:
    blank = FlatBlank(Layout.of(model()))
    for name, values in blank.values.items():
        values[...] = model()[name]
    del values
    assert_same_bits(Layout.of(model()).views(blank.finish()), model())


def test_where_chosen_arrays_lie() -> None:
    """conv.weight has 2·3·4 = 24 values, norm.weight 3, empty none, scale one."""
    layout = Layout.of(model())
    assert layout.spans(lambda name: name.startswith(("norm", "half", "scale"))) == {
        "int64": [slice(0, 1)],
        "float32": [slice(24, 27), slice(27, 28)],
        "float16": [slice(0, 4)],
    }
    flat = views(layout.flatten(model()))
    (where,) = layout.spans(lambda name: name == "norm.weight")["float32"]
    assert np.array_equal(flat["float32"][where], model()["norm.weight"])
