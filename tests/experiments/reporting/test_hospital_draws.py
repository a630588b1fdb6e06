"""What is counted in a draw of lesions is what a set of images with these repeated would give."""

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.reporting.hospital_draws import SeedDraws
from training.score_counts import Answers
from training.scores import score_block

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 1, 0])


def drawn(times: NDArray[np.float32], labels: NDArray[np.int64] = LABELS) -> SeedDraws:
    """Draws of lesions that have one image each; three classes."""
    return SeedDraws(labels, np.arange(len(labels)), times, 3)


def test_auroc_of_each_draw_is_that_of_the_images_drawn() -> None:
    """A few values only, so many probabilities are equal, also within and between classes."""
    generator = np.random.default_rng(0)
    times = generator.integers(0, 3, (len(LABELS), 20)).astype(np.float32)
    answers = generator.integers(1, 4, (len(LABELS), 3)).astype(np.float32)
    answers /= answers.sum(axis=1, keepdims=True)
    found = drawn(times).auroc(answers)
    assert found.shape == (21,)
    for repeats, value in zip([np.ones(len(LABELS)), *times.T], found, strict=True):
        images = np.repeat(np.arange(len(LABELS)), repeats.astype(int))
        expected = score_block(Answers(answers[images], LABELS[images]).counts())["auroc"]
        assert value == pytest.approx(expected, abs=1e-3)


def test_without_other_images_no_threshold_finds_any() -> None:
    """Two melanomas alone: whatever their probability, nothing says which would be too high."""
    labels, times = np.array([1, 1]), np.ones((2, 3), np.float32)
    answers = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]], np.float32)
    assert np.isnan(drawn(times, labels).found(answers, 1)).all()


def test_auroc_of_one_class_alone_is_not_defined() -> None:
    """The second draw has images of class 0 only, and class 2 never occurs."""
    labels = np.array([0, 0, 1])
    times = np.array([[1, 1], [1, 1], [1, 0]], np.float32)
    answers = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.4, 0.6, 0]], np.float32)
    # Of the two pairs of an image of class 0 and the one of class 1 one is in order.
    np.testing.assert_array_equal(drawn(times, labels).auroc(answers), [50, 50, np.nan])
