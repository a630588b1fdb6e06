"""Whole-batch preprocessing equals the study's, image by image."""

import numpy as np
import pytest
import torch
from PIL import Image

from data_partition.batches import evaluation_batch, training_batch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IDENTITY = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}  # (v / 255) / (1 / 255) = v


def some_images(count: int = 16, side: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_training_batch_equals_a_plain_reference_per_image():
    images, size = some_images(), 9
    batch = training_batch(images, image_size=size, mean=MEAN, std=STD, generator=seeded())
    generator = seeded()
    offsets = torch.randint(12 - size + 1, (16, 2), generator=generator)
    flips = torch.rand(16, generator=generator) < 0.5
    assert 0 < flips.sum() < 16  # else this seed would test only one of the two
    for image, (top, left), flip, got in zip(images, offsets, flips, batch, strict=True):
        crop = image[top : top + size, left : left + size].permute(2, 0, 1).double() / 255
        crop = crop.flip(2) if flip else crop
        expected = (crop - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=2e-6)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_without_room_to_crop_an_image_stays_or_is_mirrored():
    images = some_images(count=200, side=8)
    batch = training_batch(images, image_size=8, **IDENTITY, generator=seeded()).round()
    upright = images.permute(0, 3, 1, 2).float()
    stays = (batch == upright).flatten(1).all(1)
    mirrored = (batch == upright.flip(3)).flatten(1).all(1)
    assert (stays ^ mirrored).all()
    # 200 fair flips: 100, give or take four standard deviations of sqrt(200) / 2 = 7.07.
    assert 71 <= mirrored.sum() <= 129


def test_every_offset_occurs():
    # The pixel's value tells its place: 5 x 5 images with 3 x 3 places for a 3 x 3 crop.
    image = torch.arange(25, dtype=torch.uint8).view(1, 5, 5, 1).expand(500, 5, 5, 3)
    batch = training_batch(image, image_size=3, **IDENTITY, generator=seeded()).round()
    places = set(batch[:, 0].flatten(1).amin(1).int().tolist())
    assert places == {0, 1, 2, 5, 6, 7, 10, 11, 12}


def test_the_generator_decides():
    def batch(seed: int) -> torch.Tensor:
        return training_batch(
            some_images(), image_size=9, mean=MEAN, std=STD, generator=seeded(seed)
        )

    assert torch.equal(batch(5), batch(5))
    assert not torch.equal(batch(5), batch(6))


def test_evaluation_batch_resizes_as_pillow_does():
    images = some_images(count=3, side=32)
    batch = evaluation_batch(images, image_size=28, **IDENTITY)
    for image, got in zip(images.numpy(), batch, strict=True):
        resized = Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR)
        # Both round to whole levels, and may differ by one where a value lies half way.
        difference = got.permute(1, 2, 0).numpy() - np.asarray(resized, dtype=np.float32)
        assert np.abs(difference).max() < 1.01


def test_evaluation_batch_normalises():
    images = torch.tensor([255, 0, 51], dtype=torch.uint8).expand(1, 4, 4, 3)
    batch = evaluation_batch(images, image_size=4, mean=(0.5, 0.25, 0.1), std=(0.5, 0.5, 0.2))
    # (1 - 0.5) / 0.5, (0 - 0.25) / 0.5, (0.2 - 0.1) / 0.2
    expected = torch.tensor([1.0, -0.5, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    torch.testing.assert_close(batch, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_batches():
    images = some_images(side=32)
    arguments = {"image_size": 28, "mean": MEAN, "std": STD}
    on_gpu = training_batch(images.cuda(), **arguments, generator=seeded()).cpu()
    torch.testing.assert_close(on_gpu, training_batch(images, **arguments, generator=seeded()))
    difference = evaluation_batch(images.cuda(), **arguments).cpu() - evaluation_batch(
        images, **arguments
    )
    # At most one grey level.
    assert difference.abs().max() < 1.01 / 255 / min(STD)


def test_wrong_input_is_refused():
    generator = seeded()
    with pytest.raises(ValueError, match="does not fit"):
        training_batch(some_images(side=8), image_size=9, mean=MEAN, std=STD, generator=generator)
    with pytest.raises(ValueError, match="uint8"):
        evaluation_batch(some_images().float(), image_size=9, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="square"):
        evaluation_batch(some_images()[:, :5], image_size=4, mean=MEAN, std=STD)
