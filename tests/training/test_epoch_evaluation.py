"""The evaluation of a split."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import nn

from tests.support import Recorder, plain_split, random_split, same_bits, state_of
from tests.training.epochs import (
    FEATURES,
    SIDE,
    judge,
    logits_of,
    softmax,
    torch_seed,  # noqa: F401
)
from training.errors import TrainingError
from training.split import Split


def test_evaluation_is_scikit_learns() -> None:
    """On some rows of a store, out of order, with one class that does not occur among them."""
    rng = np.random.default_rng(0)
    store = random_split(40, side=SIDE, classes=3)
    split = Split(store.images, store.labels, rng.permutation(40)[:21])
    model = Recorder(FEATURES, 4)
    found = judge(model, split, classes=4)
    labels, expected = split.labels[split.indices], softmax(logits_of(model, split))

    assert found.images.probabilities.dtype == np.float32
    assert found.images.probabilities == pytest.approx(expected, abs=1e-6)
    assert found.images.probabilities.sum(axis=1) == pytest.approx(np.ones(21), abs=1e-6)
    answers = expected.argmax(axis=1)
    assert len(set(answers)) > 1
    confusion = sklearn.confusion_matrix(labels, answers, labels=range(4))
    assert (found.images.confusion == confusion).all()
    loss = sklearn.log_loss(labels, expected, labels=range(4))
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_evaluation_is_in_eval_mode_without_gradients_and_changes_nothing() -> None:
    model = Recorder(FEATURES, 3).train()
    judge(model, random_split(9, side=SIDE))
    assert model.modes == [(False, False)] * 3
    assert not model.training
    assert model.linear.weight.grad is None

    norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, 3))
    before = state_of(norm)
    judge(norm, random_split(9, side=SIDE))  # 4 + 4 + 1: one image is no trouble here
    assert same_bits(before, state_of(norm))


def test_an_empty_split() -> None:
    found = judge(Recorder(FEATURES, 3), random_split(0, side=SIDE))
    assert found.images.probabilities.shape == (0, 3)
    assert found.images.confusion.tolist() == [[0] * 3] * 3
    assert found.loss == 0.0


@pytest.mark.parametrize("batch_size", [1, 4, 10, 11, 100])
def test_the_batch_size_of_an_evaluation_does_not_matter(batch_size: int) -> None:
    model, split = Recorder(FEATURES, 3), random_split(11, side=SIDE)
    found, expected = judge(model, split, batch_size), judge(model, split, 11)
    assert found.images.probabilities == pytest.approx(expected.images.probabilities, abs=1e-6)
    assert (found.images.confusion == expected.images.confusion).all()
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_the_first_class_wins_a_tie() -> None:
    model = Recorder(FEATURES, 3)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    split = plain_split([1, 2, 3], [0, 1, 2])
    found = judge(model, split)
    assert found.images.confusion.tolist() == [[1, 0, 0]] * 3
    assert found.loss == pytest.approx(np.log(3), rel=1e-6)


def test_certainty_does_not_make_the_loss_infinite() -> None:
    """Logits 0 and 200, truth 0: −log softmax = 200, though the probability e^−200 underflows."""
    model = Recorder(FEATURES, 2)
    nn.init.zeros_(model.linear.weight)
    with torch.no_grad():
        model.linear.bias.copy_(torch.tensor([0.0, 200.0]))
    found = judge(model, plain_split([1], [0]), classes=2)
    assert found.loss == pytest.approx(200.0, rel=1e-6)


def test_patients_are_judged_where_they_are_known() -> None:
    """Three slices of two patients, on some rows of a store; class 0 where an image is dark."""
    model = Recorder(FEATURES, 2)
    nn.init.zeros_(model.linear.weight)
    nn.init.zeros_(model.linear.bias)
    with torch.no_grad():
        # Logit of class 1: the mean of the pixels in 0 … 1, times 4, less 2.
        model.linear.weight[1] = 4 / FEATURES
        model.linear.bias[1] = -2.0
    store = plain_split([255, 0, 204, 102], [0, 0, 1, 1])
    split = replace(store, indices=np.array([3, 1, 2]), patients=np.array([9, 4, 8, 8]))
    found = judge(model, split, classes=2)
    # Slices 3 and 2 of patient 8 have the logits -0.4 and 1.2: by slice one is wrong.
    assert found.images.confusion.tolist() == [[1, 0], [1, 1]]
    # Their mean probability is (0.40 + 0.77)/2 = 0.58: by patient none is.
    assert found.patients is not None
    assert found.patients.confusion.tolist() == [[1, 0], [0, 1]]
    assert judge(model, store, classes=2).patients is None


def test_answers_that_are_no_numbers_are_refused() -> None:
    model = Recorder(FEATURES, 3)
    nn.init.constant_(model.linear.bias, float("nan"))
    with pytest.raises(TrainingError, match="not finite numbers: its training has diverged"):
        judge(model, random_split(3, side=SIDE))
