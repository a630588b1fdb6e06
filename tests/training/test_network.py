"""From a config to a network: the same for server, client and centralized training."""

from functools import partial

import numpy as np
import pytest
import torch

from models.clip import ImageTextClassifier
from tests.support import STORED_SIDE, make_config, make_text, random_split, state_of
from training.epoch import train_epoch
from training.errors import TrainingError
from training.network import (
    build_network,
    loss_function,
    preprocessing,
    restore_network,
)

CLASSES = 3


def test_a_classifier_answers_for_each_class() -> None:
    network = build_network(make_config(), CLASSES, None)
    assert network.head.out_features == CLASSES
    assert not isinstance(network, ImageTextClassifier)


def test_an_image_encoder_answers_in_the_texts_width() -> None:
    network = build_network(make_config(objective="clip"), CLASSES, make_text(width=512))
    assert network.head.out_features == 512
    with torch.inference_mode():
        assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, CLASSES)


def test_a_clip_tower_starts_from_its_own_text_towers_alignment() -> None:
    """Its projection starts as the identity; with another text encoder's features it is random."""
    own = make_config(objective="clip", backbone="clip-rn50", text_encoder="RN50", image_size=224)
    text = make_text(width=1024)
    assert torch.equal(build_network(own, CLASSES, text).head.weight, torch.eye(1024))
    other = own.replace(text_encoder="RN50x64")
    assert not torch.equal(build_network(other, CLASSES, text).head.weight, torch.eye(1024))


@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_a_restored_network_is_the_one_that_was_built(objective: str) -> None:
    config = make_config(objective=objective)
    text = make_text() if objective == "clip" else None
    built = build_network(config, CLASSES, text).eval()
    restored = restore_network(config, CLASSES, state_of(built), text).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(built(images), restored(images))


def test_other_weights_are_refused() -> None:
    config = make_config()
    weights = state_of(build_network(config, CLASSES, None))
    weights["head.weight"] = weights["head.weight"][:2]
    with pytest.raises(TrainingError, match=r"^the weights are not those of resnet18: .*head"):
        restore_network(config, CLASSES, weights, None)


def test_losses() -> None:
    """Two images of class 1 that are alike: log 2 against each other, nothing over the classes."""
    logits, labels = torch.tensor([[0.0, 40.0, 0.0]] * 2), torch.tensor([1, 1])
    assert loss_function(make_config())(logits, labels).item() == pytest.approx(0, abs=1e-6)
    clip = loss_function(make_config(objective="clip"))
    assert clip(logits, labels).item() == pytest.approx(np.log(2))
    over_classes = loss_function(make_config(objective="clip", clip_loss="cross-entropy"))
    assert over_classes(logits, labels).item() == pytest.approx(0, abs=1e-6)
    # Class 2 is nearest to both images and absent from the batch, which hides it from one loss.
    hidden = torch.tensor([[0.0, 40.0, 80.0], [40.0, 0.0, 80.0]]), torch.tensor([1, 0])
    assert clip(*hidden).item() == pytest.approx(0, abs=1e-6)
    assert over_classes(*hidden).item() == pytest.approx(40)


@pytest.mark.parametrize("loss", ["contrastive", "cross-entropy"])
def test_training_draws_images_to_their_texts(loss: str) -> None:
    """Each class one grey level: the loss must fall, and all weights but the text's move."""
    config = make_config(objective="clip", clip_loss=loss, learning_rate=0.003)
    network = build_network(config, CLASSES, make_text())
    assert isinstance(network, ImageTextClassifier)
    split = random_split(12, side=STORED_SIDE)
    split.images[:] = (split.labels * 100)[:, None, None, None]
    before, text = state_of(network), network.text.clone()
    step = partial(
        train_epoch,
        network,
        split,
        torch.optim.Adagrad(network.parameters(), lr=0.003),
        batch_size=6,
        preprocessing=preprocessing(config),
        generator=torch.Generator().manual_seed(0),
        loss_function=loss_function(config),
    )
    losses = [step() for _ in range(6)]
    assert losses[-1] < losses[0]
    assert all((state_of(network)[name] != before[name]).any() for name in before)
    assert torch.equal(network.text, text)
