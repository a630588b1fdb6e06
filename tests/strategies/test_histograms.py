"""Histograms in a reply: packed without loss, and held against the confusion matrix."""

from typing import Any

import numpy as np
import pytest
from flwr.app import MetricRecord

from strategies.field_kinds import PackedCounts
from strategies.histograms import (
    BINS,
    CONFIDENCE_BINS,
    PACKED_BYTES,
    check_histograms,
    pack,
    unpack,
)
from strategies.refusal import Refused
from training.score_counts import Answers


def reply(classes: int = 3, images: int = 40, seed: int = 0) -> dict[str, Any]:
    """The counts of random answers as the metrics of a reply."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), images).astype(np.float32)
    counts = Answers(probabilities, rng.integers(0, classes, images)).counts(exact=False)
    assert counts.histograms is not None
    fields = counts.histograms.to_fields()
    confusion = [int(number) for number in counts.confusion.flat]
    return {"test-confusion": confusion} | {f"test-{key}": v for key, v in fields.items()}


@pytest.mark.parametrize("cells", [[], [0], [9], [0, 1, 9], [3, 4, 8], list(range(10))])
def test_packed_counts_are_what_they_were(cells: list[int]) -> None:
    counts = np.zeros(10, dtype=np.int64)
    counts[cells] = np.arange(1, len(cells) + 1)
    packed = pack(counts)
    assert unpack(packed, 10).tolist() == counts.tolist()
    assert PackedCounts(10, len(cells) or 1).admits(packed)
    assert MetricRecord({"packed": packed})["packed"] == packed


def test_counts_are_packed_in_one_way_only() -> None:
    """2, 0, 0, 5: the first at distance 0, the next at distance 3. No other list is admitted."""
    kind = PackedCounts(4, most=5)
    assert pack(np.array([2, 0, 0, 5])) == [0, 2, 3, 5]
    assert kind.admits([0, 2, 3, 5])
    for other in (
        [0, 2, 3],  # a distance without its count
        [0, 2, 1, 0, 2, 5],  # a count of zero
        [0, 1, 0, 1, 3, 5],  # one cell twice
        [-1, 1, 1, 2, 3, 5],
        [0, 2, 4, 5],  # beyond the last cell
        [0, 2, 3, 6],  # more than the most
        [0, 2, 3, 5.0],
        [False, 2, 3, 5],
        [0, 2, 2**70, 5],
        (0, 2, 3, 5),
    ):
        assert not kind.admits(other), other


@pytest.mark.parametrize("classes", [1, 2, 7, 32])
@pytest.mark.parametrize("images", [0, 1, 500])
def test_honest_histograms_pass(classes: int, images: int) -> None:
    check_histograms("test", reply(classes, images))
    check_histograms("test", {"test-confusion": [1]})
    with pytest.raises(Refused):
        check_histograms("test", reply(classes, images) | {"test-squared-error": 1001.0})


def test_a_record_has_room_for_every_packed_list() -> None:
    """The longest distances and counts that are admitted, of 32 classes."""
    most, length = 2 * 10**7, 2 * 32 * BINS
    for packed in ([length - 1, most], pack(np.full(length, most))):
        bare, full = (len(MetricRecord({"k": value}).deflate()) for value in ([0, 0], packed))
        assert full - bare <= PACKED_BYTES * len(packed) // 2 + 8


def moved(packed: list[int], of: int, cells: int) -> list[int]:
    """The same with one image of a cell in another one."""
    counts = unpack(packed, 3 * 2 * BINS)
    first = int(np.flatnonzero(counts)[of])
    counts[first] -= 1
    counts[first + cells] += 1
    return pack(counts)


def test_what_contradicts_the_confusion_matrix_is_refused() -> None:
    honest = reply()
    packed, confidence = honest["test-probabilities"], honest["test-confidence"]
    sums, squared_error = honest["test-confidence-sums"], honest["test-squared-error"]
    full = next(i for i in range(CONFIDENCE_BINS) if confidence[2 * i] and confidence[2 * i + 1])
    wrong_for_right = list(confidence)
    wrong_for_right[2 * full] -= 1
    wrong_for_right[2 * full + 1] += 1
    attacks: list[tuple[str, Any]] = [
        ("probabilities", None),
        ("confidence", None),
        ("confidence-sums", None),
        ("squared-error", None),
        ("probabilities", []),
        ("probabilities", packed[:-2]),  # a cell less
        ("probabilities", moved(packed, 0, BINS)),  # of the class instead of not
        ("probabilities", moved(packed, 0, 2 * BINS)),  # of another class
        ("probabilities", pack(np.repeat([0, 40], 3 * BINS))),  # of more classes than there are
        ("probabilities", reply(4)["test-probabilities"]),
        ("confidence", [0] * 2 * CONFIDENCE_BINS),
        ("confidence", wrong_for_right),
        ("confidence-sums", [0.0] * CONFIDENCE_BINS),
        ("confidence-sums", [total + (total > 0) for total in sums]),
        ("squared-error", 0.0),
        ("squared-error", squared_error * 1.1),
        ("squared-error", squared_error / 1.1),
    ]
    for name, value in attacks:
        changed = {key: v for key, v in honest.items() if key != f"test-{name}"}
        if value is not None:
            changed[f"test-{name}"] = value
        with pytest.raises(Refused) as refused:
            check_histograms("test", changed)
        assert name in refused.value.reason


def test_probabilities_that_do_not_sum_to_1_are_refused() -> None:
    """Every image in the first bin of every class, with the counts of each class as they are."""
    honest = reply()
    counts = unpack(honest["test-probabilities"], 3 * 2 * BINS).reshape(6, BINS)
    none = np.zeros_like(counts)
    none[:, 0] = counts.sum(axis=1)
    with pytest.raises(Refused, match="test-probabilities do not sum to 1"):
        check_histograms("test", honest | {"test-probabilities": pack(none)})
