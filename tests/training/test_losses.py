"""The losses, each on numbers that can be checked by hand, and all of them through training."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from models.clip import ImageTextClassifier
from strategies.method import Settings
from tests.support import STORED_SIDE, make_config, make_text, random_split, state_of
from training.config import parse
from training.epoch import train_epoch
from training.errors import ConfigError, TrainingError
from training.losses import LOSSES, LossFunction, class_weights, loss_function
from training.network import preprocessing
from training.split import Split
from training.task import Task

CLASSES = 3


def built(labels: list[int] | None = None, **settings: object) -> LossFunction:
    """The loss for training on images with these labels."""
    chosen = np.array([0, 1, 2] if labels is None else labels)
    split = Split(np.empty((len(chosen), 1)), chosen, np.arange(len(chosen)))
    return loss_function(make_config(**settings).to_flat(), split.class_counts(CLASSES))


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
    balanced = loss_function({"loss": "balanced"}, split.class_counts(2))
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    each = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    # One image of class 0 and two of class 1: weights 3/2 and 3/4.
    expected = (1.5 * each[0] + 0.75 * each[1]) / 2.25
    assert balanced(logits, torch.tensor([0, 1])).item() == pytest.approx(expected.item())


# References from the papers' formulas, in plain Python.
COUNTS = np.array([60, 9, 1, 0])
LOGITS = torch.tensor(np.random.default_rng(0).normal(0, 2, (6, 4)), dtype=torch.float32)
LABELS = torch.tensor([0, 0, 1, 2, 1, 0])


def softmax(logits: list[float]) -> list[float]:
    return [math.exp(z) / sum(map(math.exp, logits)) for z in logits]


def mean(losses: list[float], weights: list[float]) -> float:
    return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


def effective(label: int, beta: float) -> float:
    """Cui et al.; that the weights sum to 3 cancels out."""
    return (1 - beta) / (1 - beta ** COUNTS[label])


def reference(name: str, late: bool, *, beta: float, gamma: float, margin: float) -> float:
    losses, weights = [], []
    for logits, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        weight = 1.0
        if name == "effective-number":
            loss, weight = -math.log(softmax(logits)[label]), effective(label, beta)
        elif name == "logit-adjusted":  # Ren et al.: n_y e^z_y / Σ n_c e^z_c
            terms = [n * math.exp(z) for n, z in zip(COUNTS, logits, strict=True)]
            loss = -math.log(terms[label] / sum(terms))
        elif name == "focal":
            p = softmax(logits)[label]
            loss = -((1 - p) ** gamma) * math.log(p)
        else:  # ldam; the rarest class with images, of one, has the largest margin
            moved = list(logits)
            moved[label] -= margin * (1 / COUNTS[label]) ** 0.25
            loss, weight = -math.log(softmax(moved)[label]), effective(label, beta) if late else 1.0
        losses.append(loss)
        weights.append(weight)
    return mean(losses, weights)


@pytest.mark.parametrize(
    ("name", "late"),
    [
        *(("effective-number", False), ("logit-adjusted", False), ("focal", False)),
        *(("ldam", False), ("ldam", True)),
    ],
)
def test_a_loss_equals_its_papers_formula_with_its_keys(name: str, late: bool) -> None:
    """By default β = 0.9999, γ = 2 and the largest margin 1/2."""
    own = {"effective_number_beta": 0.9, "focal_gamma": 3.0, "ldam_margin": 0.25}
    by_default = {"beta": 0.9999, "gamma": 2.0, "margin": 0.5}
    for keys, said in (({}, by_default), (own, {"beta": 0.9, "gamma": 3.0, "margin": 0.25})):
        settings = make_config(loss=name, **keys).to_flat()
        found = loss_function(settings, COUNTS, late=late)(LOGITS, LABELS)
        assert found.item() == pytest.approx(reference(name, late, **said), rel=1e-6)


def test_weights_are_not_rounded_where_logits_are_bfloat16() -> None:
    """One image of each of two classes: Σ w l / Σ w, with l from the rounded logits."""
    counts = np.array([3, 7, 11, 0])
    logits, labels = LOGITS[:2].bfloat16(), torch.tensor([0, 2])
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_function({"loss": "balanced"}, counts)(logits, labels).item()
    each = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none").numpy()
    weights = np.array([1 / 3, 1 / 11])
    assert found == pytest.approx(float((weights * each).sum() / weights.sum()), rel=1e-6)


def test_limits_of_the_losses() -> None:
    """Of equal counts all but focal and ldam are cross-entropy; without β weights are 1/n_c."""
    equal = np.array([5, 5, 5, 5])
    plain = torch.nn.functional.cross_entropy(LOGITS, LABELS).item()
    still: dict[str, dict[str, object]] = {"focal": {"focal_gamma": 0}, "ldam": {"ldam_margin": 0}}
    for name in ("balanced", "effective-number", "logit-adjusted", *still):
        settings = make_config(loss=name, **still.get(name, {})).to_flat()
        assert loss_function(settings, equal)(LOGITS, LABELS).item() == pytest.approx(plain)

    def weights(counts: np.ndarray, beta: float) -> np.ndarray | None:
        settings = {"loss": "effective-number", "effective-number-beta": beta}
        return class_weights(settings, counts)

    nearly_one = weights(np.array([60, 20, 10]), 1 - 1e-9)
    np.testing.assert_allclose(nearly_one, 3 * np.array([1, 3, 6]) / 10, rtol=1e-5)
    np.testing.assert_array_equal(weights(COUNTS, 0.0), [1, 1, 1, 0])


@pytest.mark.parametrize("gamma", [0, 0.1, 0.5, 1, 2])
def test_focals_gradient_is_finite_where_the_answer_is_certain(gamma: float) -> None:
    """There p is 1 in float32, and 0^γ has no derivative for γ < 1."""
    logits = torch.tensor([[200.0, 0.0, 0.0], [1.0, 0.0, 0.0]], requires_grad=True)
    focal = built(loss="focal", focal_gamma=gamma)
    focal(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0] == 0).all()
    assert logits.grad[1, 0] < 0


def test_a_class_without_images_gets_no_gradient_of_the_adjusted_logits() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss_function({"loss": "logit-adjusted"}, COUNTS)(logits, LABELS).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 3] == 0).all()
    assert torch.isfinite(logits.grad).all()


def test_weights_are_deferred_to_the_last_fifth_of_the_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of ten rounds the first eight are without."""
    asked: list[bool] = []

    def spying(settings: Settings, counts: np.ndarray, *, late: bool) -> LossFunction:
        asked.append(late)
        return loss_function(settings, counts, late=late)

    monkeypatch.setattr("training.task.loss_function", spying)
    task = Task(make_config(loss="ldam"), CLASSES)
    network = task.build()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for number in (1, 8, 9, 10):
        split = random_split(4, side=STORED_SIDE)
        task.train(network, split, optimizer, round_number=number, rounds=10)
    assert asked == [False, False, True, True]


def test_the_federations_counts_take_the_place_of_the_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[int]] = []

    def spying(settings: Settings, counts: np.ndarray, *, late: bool) -> LossFunction:
        asked.append(counts.tolist())
        return loss_function(settings, counts, late=late)

    monkeypatch.setattr("training.task.loss_function", spying)
    task, split = (
        Task(make_config(loss="logit-adjusted"), CLASSES),
        random_split(6, side=STORED_SIDE),
    )
    network = task.build()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    own = split.class_counts(CLASSES)
    for counts in (None, (own + 2).tolist()):
        task.train(network, split, optimizer, round_number=1, rounds=1, class_counts=counts)
    assert asked == [own.tolist(), (own + 2).tolist()]
    for wrong in ([99, 99], (own - 1).tolist()):
        with pytest.raises(TrainingError, match="class-counts: the federation's"):
            task.train(network, split, optimizer, round_number=1, rounds=1, class_counts=wrong)


@pytest.mark.parametrize(
    "objective, loss", [(o, name) for name, row in LOSSES.items() for o in row.objectives]
)
def test_training_lowers_every_loss(objective: str, loss: str) -> None:
    """Each class one grey level: the loss must fall, and all weights but the text's move."""
    config = make_config(backbone="timm:test_resnet", objective=objective, loss=loss)
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
        loss_function=loss_function(config.to_flat(), split.class_counts(CLASSES)),
    )
    losses = [step() for _ in range(3)]
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
