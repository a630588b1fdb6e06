"""Key ``accumulate-batches``: a step over several batches is a step over one as large as all."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import Recorder, make_config, plain_split, random_split, state_of
from tests.training.epochs import (
    FEATURES,
    SIDE,
    torch_seed,  # noqa: F401
    train,
)
from training.config import parse
from training.epoch import batch_slices, step_batches
from training.errors import ConfigError, TrainingError
from training.losses import OWN, Loss, class_weights, loss_function
from training.split import Split
from training.task import Task

CLASSES = 3
OVER_IMAGES = [name for name, row in OWN.items() if not row.whole_batch]


class InFloat64(nn.Sequential):
    """A small network without BatchNorm and dropout."""

    def __init__(self) -> None:
        layers = nn.Flatten(), nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, CLASSES)
        super().__init__(*layers)
        self.double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(images.double())
        return logits


def unequal_classes(num_images: int) -> Split:
    """Grey images, which augmentation does not change: of class 0 two thirds, of class 2 a few."""
    rng = np.random.default_rng(num_images)
    labels = rng.choice(CLASSES, num_images, p=[0.65, 0.25, 0.1])
    labels[:CLASSES] = range(CLASSES)
    return plain_split(rng.integers(0, 256, num_images), labels)


def trained(split: Split, loss: str, late: bool, **settings: Any) -> tuple[dict[str, Any], float]:
    """One epoch of SGD with momentum, from the same first weights."""
    torch.manual_seed(1)
    model = InFloat64()
    counts, values = split.class_counts(CLASSES), parse({"loss": loss}).to_flat()
    mean_loss = train(
        model,
        split,
        loss_function=loss_function(values, counts, late=late),
        class_weights=class_weights(values, counts, late=late),
        **settings,
    )
    return state_of(model), mean_loss


@pytest.mark.parametrize("num_examples", [2, 3, 8, 9, 32, 33, 34, 41, 64, 65, 73, 100])
def test_the_steps_are_those_of_larger_batches(num_examples: int) -> None:
    """Where a last batch of one is joined, too: 41 are 8 + 8 + 8 + 8 and 9, which are 32 and 9."""
    steps = list(step_batches(num_examples, 8, 4))
    spans = [slice(parts[0].start, parts[-1].stop) for parts in steps]
    assert spans == list(batch_slices(num_examples, 32))
    assert [part for parts in steps for part in parts] == list(batch_slices(num_examples, 8))


@pytest.mark.parametrize("num_images", [33, 44, 73])
@pytest.mark.parametrize(
    ("loss", "late"),
    [(name, late) for name in OVER_IMAGES for late in ((False, True) if OWN[name].late else (0,))],
)
def test_four_batches_of_eight_are_one_of_32(num_images: int, loss: str, late: bool) -> None:
    """In float64, to rounding: steps of 8 + 8 + 8 + 9; of 32 and 8 + 4; of 32, 32 and 9."""
    split = unequal_classes(num_images)
    whole, whole_loss = trained(split, loss, late, batch_size=32)
    found, found_loss = trained(split, loss, late, batch_size=8, accumulate_batches=4)
    for name, array in whole.items():
        assert array.dtype == np.float64
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-14, err_msg=name)
    assert found_loss == pytest.approx(whole_loss, rel=1e-12)
    apart, _ = trained(split, loss, late, batch_size=8)
    assert np.abs(apart["1.weight"] - whole["1.weight"]).max() > 1e-4


@pytest.mark.parametrize("loss", ["balanced", "effective-number"])
def test_without_the_classes_weights_it_would_be_another_step(loss: str) -> None:
    """Batches with rare classes have a larger share: their mean is over more weight."""
    split = unequal_classes(33)
    whole, _ = trained(split, loss, False, batch_size=32)
    torch.manual_seed(1)
    model = InFloat64()
    function = loss_function(parse({"loss": loss}).to_flat(), split.class_counts(CLASSES))
    train(model, split, loss_function=function, batch_size=8, accumulate_batches=4)
    assert np.abs(state_of(model)["1.weight"] - whole["1.weight"]).max() > 1e-5


def test_a_step_waits_for_all_of_its_batches() -> None:
    """Nine images in batches of 2, 2, 2 and 3, three to a step: two steps, of 6 and of 3."""
    model, steps = Recorder(FEATURES, CLASSES), []
    train(
        model,
        random_split(9, side=SIDE),
        batch_size=2,
        accumulate_batches=3,
        before_step=lambda: steps.append(len(model.batches)),
    )
    assert steps == [3, 4]
    assert [len(batch) for batch in model.batches] == [2, 2, 2, 3]


def test_a_penalty_is_averaged_over_a_steps_batches() -> None:
    """Of batches of 4, 4 and 2 images the terms 1, 2 and 3 have the mean (4·1 + 4·2 + 2·3)/10."""
    terms = iter([1.0, 2.0, 3.0])
    loss = train(
        Recorder(FEATURES, CLASSES),
        random_split(10, side=SIDE),
        accumulate_batches=3,
        loss_function=lambda logits, labels: 0 * logits.sum(),
        penalty=lambda: torch.tensor(next(terms)),
    )
    assert loss == pytest.approx(1.8)


def test_the_tasks_training_takes_the_key_and_the_losses_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, Any]] = []

    def spying(*_: Any, accumulate_batches: int, class_weights: Any, **__: Any) -> float:
        asked.append((accumulate_batches, class_weights))
        return 0.0

    monkeypatch.setattr("training.task.train_epoch", spying)
    split = unequal_classes(20)
    for loss, rounds in (("balanced", 1), ("ldam", 1), ("ldam", 2), ("focal", 1)):
        task = Task(make_config(loss=loss, accumulate_batches=2), CLASSES)
        network = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(network.parameters())
        task.train(network, split, optimizer, round_number=1, rounds=rounds)
    (_, balanced), (_, late), (_, early), (_, focal) = asked
    assert {times for times, _ in asked} == {2}
    counts = split.class_counts(CLASSES)
    assert balanced == pytest.approx(20 / (3 * counts))
    assert late.sum() == pytest.approx(3)
    assert early is None
    assert focal is None


@pytest.mark.parametrize("loss", ["auto", "contrastive"])
def test_a_loss_that_compares_images_is_refused(loss: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"objective": "clip", "loss": loss, "accumulate-batches": 4})
    assert str(caught.value) == (
        "accumulate-batches = 4: with loss = 'contrastive' allowed is 1, since it compares the "
        "images of a batch with one another"
    )
    parse({"objective": "clip", "loss": "cross-entropy", "accumulate-batches": 4})


def test_a_packages_weights_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Loss(OWN["balanced"].build, weights=lambda counts, settings: -counts)
    monkeypatch.setattr("training.losses.LOSSES", {"mine": row})
    with pytest.raises(TrainingError, match=r"^loss = 'mine': its weights are not 3 numbers"):
        class_weights({"loss": "mine"}, np.array([3, 2, 1]))
