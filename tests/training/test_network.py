"""From a config to a network: the same for server, client and centralized training."""

import pytest
import torch

from models.clip import ImageTextClassifier
from tests.support import BACKBONE, make_config, make_text, state_of
from training.errors import TrainingError
from training.network import preprocessing
from training.task import Task

CLASSES = 3


def test_a_classifier_answers_for_each_class() -> None:
    network = Task(make_config(), CLASSES).build()
    assert network.head.out_features == CLASSES
    assert not isinstance(network, ImageTextClassifier)


def test_an_image_encoder_answers_in_the_texts_width() -> None:
    network = Task(make_config(objective="clip"), CLASSES, make_text(width=512)).build()
    assert network.head.out_features == 512
    with torch.inference_mode():
        assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, CLASSES)


def test_a_clip_tower_starts_from_its_own_text_towers_alignment() -> None:
    """Its projection starts as the identity; with another text encoder's features it is random."""
    own = make_config(objective="clip", backbone="clip-rn50", text_encoder="RN50", image_size=224)
    text = make_text(width=1024)
    assert torch.equal(Task(own, CLASSES, text).build().head.weight, torch.eye(1024))
    other = own.replace(text_encoder="RN50x64")
    assert not torch.equal(Task(other, CLASSES, text).build().head.weight, torch.eye(1024))


@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_a_restored_network_is_the_one_that_was_built(objective: str) -> None:
    config = make_config(objective=objective)
    text = make_text() if objective == "clip" else None
    built = Task(config, CLASSES, text).build().eval()
    restored = Task(config, CLASSES, text).restore(state_of(built)).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(built(images), restored(images))


def test_other_weights_are_refused() -> None:
    config = make_config()
    weights = state_of(Task(config, CLASSES).build())
    weights["head.weight"] = weights["head.weight"][:2]
    with pytest.raises(TrainingError, match=f"^the weights are not those of {BACKBONE}: .*head"):
        Task(config, CLASSES).restore(weights)


def test_the_config_decides_about_inputs() -> None:
    found = preprocessing(make_config(augmentation="strong", input="flamby"))
    assert (found.augmentation, found.cropped) == ("strong", True)
    found = preprocessing(make_config())
    assert (found.augmentation, found.cropped) == ("study", False)
