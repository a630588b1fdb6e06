"""The losses, each on numbers that can be checked by hand, and all of them through training."""

from functools import partial

import numpy as np
import pytest
import torch

from models.clip import ImageTextClassifier
from tests.support import STORED_SIDE, make_config, make_text, random_split, state_of
from training.config import parse
from training.epoch import train_epoch
from training.errors import ConfigError
from training.losses import LOSSES, LossFunction, loss_function
from training.network import preprocessing
from training.split import Split
from training.task import Task

CLASSES = 3


def built(labels: list[int] | None = None, **settings: object) -> LossFunction:
    """The loss for training on images with these labels."""
    chosen = np.array([0, 1, 2] if labels is None else labels)
    split = Split(np.empty((len(chosen), 1)), chosen, np.arange(len(chosen)))
    return loss_function(make_config(**settings).loss, split, CLASSES)


def test_contrastive_compares_images_and_cross_entropy_classes() -> None:
    """Two images of class 1 that are alike: log 2 against each other, nothing over the classes."""
    logits, labels = torch.tensor([[0.0, 40.0, 0.0]] * 2), torch.tensor([1, 1])
    assert built()(logits, labels).item() == pytest.approx(0, abs=1e-6)
    clip, over_classes = built(objective="clip"), built(objective="clip", loss="cross-entropy")
    assert clip(logits, labels).item() == pytest.approx(np.log(2))
    assert over_classes(logits, labels).item() == pytest.approx(0, abs=1e-6)
    # Class 2 is nearest to both images and absent from the batch, which hides it from one loss.
    hidden = torch.tensor([[0.0, 40.0, 80.0], [40.0, 0.0, 80.0]]), torch.tensor([1, 0])
    assert clip(*hidden).item() == pytest.approx(0, abs=1e-6)
    assert over_classes(*hidden).item() == pytest.approx(40)


def test_balanced_gives_every_class_the_same_say() -> None:
    """Eight images of class 0 and two of class 1: 10/(2·8) and 10/(2·2) each; none of class 2.

    A batch with one image of each, at losses a and b: (0.625 a + 2.5 b) / 3.125 = 0.2 a + 0.8 b.
    """
    balanced = built([0] * 8 + [1] * 2, loss="balanced")
    logits, labels = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 1.0]]), torch.tensor([0, 1])
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none").tolist()
    assert balanced(logits, labels).item() == pytest.approx(0.2 * each[0] + 0.8 * each[1])
    # Over a whole epoch, eight times the one and twice the other weigh the same.
    assert 8 * 0.625 == 2 * 2.5


def test_only_the_splits_own_images_are_counted() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    split = Split(np.empty((5, 1)), labels, np.array([2, 3, 4]))
    balanced = loss_function("balanced", split, 2)
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    each = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    # One image of class 0 and two of class 1: weights 3/2 and 3/4.
    expected = (1.5 * each[0] + 0.75 * each[1]) / 2.25
    assert balanced(logits, torch.tensor([0, 1])).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    "objective, loss", [(o, name) for name, row in LOSSES.items() for o in row.objectives]
)
def test_training_lowers_every_loss(objective: str, loss: str) -> None:
    """Each class one grey level: the loss must fall, and all weights but the text's move."""
    config = make_config(objective=objective, loss=loss, learning_rate=0.003)
    text = make_text() if objective == "clip" else None
    network = Task(config, CLASSES, text).build()
    split = random_split(12, side=STORED_SIDE)
    split.images[:] = (split.labels * 100)[:, None, None, None]
    before = state_of(network)
    step = partial(
        train_epoch,
        network,
        split,
        torch.optim.Adagrad(network.parameters(), lr=0.003),
        batch_size=6,
        preprocessing=preprocessing(config),
        generator=torch.Generator().manual_seed(0),
        loss_function=loss_function(config.loss, split, CLASSES),
    )
    losses = [step() for _ in range(6)]
    assert losses[-1] < losses[0]
    assert all((state_of(network)[name] != before[name]).any() for name in before)
    if text is not None:
        assert isinstance(network, ImageTextClassifier)
        assert torch.equal(network.text, torch.tensor(text.features))


@pytest.mark.parametrize(
    "values, line",
    [
        ({"loss": "contrastive"}, "loss = 'contrastive': allowed with objective = clip only"),
        (
            {"loss": "balancd"},
            "loss = 'balancd': no such loss; did you mean balanced? Known are auto, "
            + ", ".join(LOSSES),
        ),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused(values: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(values)
    assert str(error.value) == line
