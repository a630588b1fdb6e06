"""Augmented batches: the same for one seed, whatever else is drawn."""

import pytest
import torch

from training.augmentation import AUGMENTATIONS, augmented
from training.inference import Preprocessing

NAMES = [name for name, build in AUGMENTATIONS.items() if build is not None]


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (4, 40, 40, 3), generator=generator, dtype=torch.uint8)


def test_the_study_draws_nothing(images: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert augmented(images, "study", generator) is images
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_images(images: torch.Tensor, name: str) -> None:
    original = images.clone()
    first = augmented(images, name, torch.Generator().manual_seed(1))
    torch.rand(3)  # of the global generator, on which nothing depends
    state = torch.get_rng_state()
    again = augmented(images, name, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert torch.equal(images, original)
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    other = augmented(images, name, torch.Generator().manual_seed(2))
    assert not torch.equal(first, images)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_inputs_for_training(images: torch.Tensor, name: str) -> None:
    inputs = Preprocessing(32, (0.5,) * 3, (0.5,) * 3, augmentation=name)
    batches = [inputs.for_training(images, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert batches[0].shape == (4, 3, 32, 32)
    assert torch.equal(*batches)


def test_cropped_inputs_for_evaluation(images: torch.Tensor) -> None:
    """Of 40 pixels the middle 32, values v / 255."""
    inputs = Preprocessing(32, (0.0,) * 3, (1.0,) * 3, cropped=True)
    expected = images[:, 4:36, 4:36].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(inputs.for_evaluation(images), expected)
