"""The study's preprocessing of whole batches, on the device of the stored images.

The study (docs/study.md) resizes a training image to 256 x 256 and takes a random 224 x 224 crop,
flipped half of the time; a test image is resized to 224 x 224 as a whole. Both are then normalised
by channel. The image store has already resized to 256, so only copies and one multiply-add remain.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def training_batch(
    images: Tensor,
    *,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
) -> Tensor:
    """Crop every image at random, flip about half of them, and normalise.

    Args:
        images: uint8, (B, S, S, 3), values 0 … 255, on any device, S >= image_size.
        image_size: side of the crop, in pixels.
        mean: mean of each channel, of values in 0 … 1.
        std: standard deviation of each channel, of values in 0 … 1.
        generator: a CPU generator. All random numbers come from it, in the same order, so one seed
            gives the same crops on every device.

    Returns:
        float32, (B, 3, image_size, image_size), channels last in memory, on the images' device.

    Raises:
        ValueError: ``images`` is not such a tensor, or smaller than the crop.
    """
    side = _checked_side(images)
    if side < image_size:
        raise ValueError(f"a crop of {image_size} pixels does not fit images of {side}")
    offsets = torch.randint(side - image_size + 1, (len(images), 2), generator=generator)
    flips = torch.rand(len(images), generator=generator) < 0.5
    # The same pixels either way. One copy an image is ten times faster on a CPU than gathering by
    # index; on a GPU it costs one or two calls an image, and the calls take longer than the copies.
    crop = _copied_crops if images.device.type == "cpu" else _gathered_crops
    crops = crop(images, image_size, offsets, flips)
    return _normalised(crops, mean, std)


def evaluation_batch(
    images: Tensor, *, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Resize whole images (bilinear, antialiased, rounded to integers) and normalise.

    Args:
        image_size: side of the result, in pixels.
    """
    if _checked_side(images) == image_size:
        return _normalised(images, mean, std)
    channels_first = images.permute(0, 3, 1, 2)
    if images.device.type != "cpu":
        # Only the CPU has this kernel for bytes; it is ten times as fast as the one for floats.
        channels_first = channels_first.float()
    resized = F.interpolate(
        channels_first, size=(image_size, image_size), mode="bilinear", antialias=True
    )
    whole_levels = resized.round().clamp(0, 255) if resized.is_floating_point() else resized
    return _normalised(whole_levels.permute(0, 2, 3, 1), mean, std)


def _copied_crops(images: Tensor, size: int, offsets: Tensor, flips: Tensor) -> Tensor:
    crops = images.new_empty(len(images), size, size, 3)
    for crop, image, (top, left), flip in zip(
        crops, images, offsets.tolist(), flips.tolist(), strict=True
    ):
        window = image[top : top + size, left : left + size]
        crop.copy_(window.flip(1) if flip else window)
    return crops


def _gathered_crops(images: Tensor, size: int, offsets: Tensor, flips: Tensor) -> Tensor:
    span = torch.arange(size)
    rows = offsets[:, :1] + span
    columns = offsets[:, 1:] + torch.where(flips[:, None], span.flip(0), span)
    index = torch.stack((rows, columns))
    if images.device.type == "cuda":
        index = index.pin_memory()
    rows, columns = index.to(images.device, non_blocking=True)
    number = torch.arange(len(images), device=images.device)
    return images[number[:, None, None], rows[:, :, None], columns[:, None, :]]


def _checked_side(images: Tensor) -> int:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"expected uint8 images of shape (B, S, S, 3), not {images.dtype} {tuple(images.shape)}"
        )
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"expected square images, not {tuple(images.shape)}")
    return images.shape[1]


def _normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (v / 255 - mean) / std of (B, H, W, 3), as a view of shape (B, 3, H, W)."""
    num_images, height, width, _ = images.shape
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), width, images.device)
    values = images.reshape(num_images, height, width * 3).float()
    torch.addcmul(shift, values, scale, out=values)
    return values.view(num_images, height, width, 3).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return 1 / (255 std) and -mean / std, kept on the device: a copy at each batch would wait."""
    means, stds = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    # Repeated along a row of pixels: a long inner loop is vectorised.
    scale = (1 / (255 * stds)).float().repeat(width)
    return scale.to(device), (-means / stds).float().repeat(width).to(device)
