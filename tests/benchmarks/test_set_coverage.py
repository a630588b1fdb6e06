"""How often prediction sets cover, beside how often they should."""

import numpy as np
import pytest

from benchmarks import set_coverage
from benchmarks.set_coverage import measure
from training.calibration import Calibration, calibrate
from training.score_counts import Answers

CLASSES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_coverage, "DIVISIONS", 60)


def random_answers(images: int) -> Answers:
    """Of class c there are two images only."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), images).astype(np.float32)
    return Answers(probabilities, np.array([2] * 2 + [0, 1] * ((images - 2) // 2)))


def test_sets_cover_as_often_as_asked_for() -> None:
    """150 of 300 images calibrate: ⌈151 · 0.8⌉ = 121 of 151. Class c is not in every half."""
    everything, *by_class = measure(random_answers(300), CLASSES, 0.8)
    assert (everything.what, everything.images) == ("all", 300)
    assert everything.expected == pytest.approx(100 * 121 / 151)
    assert abs(everything.mean - everything.expected) < 2
    assert everything.below <= 10
    assert [row.what for row in by_class] == ["a", "b"]
    assert all(row.below <= 10 for row in by_class)


def test_thresholds_of_another_coverage_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*counts: object, **keys: object) -> Calibration:
        return calibrate(*counts, **{**keys, "coverage": 0.6})  # type: ignore[arg-type]

    monkeypatch.setattr(set_coverage, "calibrate", wrong)
    everything, *_ = measure(random_answers(300), CLASSES, 0.8)
    assert everything.mean < 70
    assert everything.below > 90
