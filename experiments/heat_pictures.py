"""Pictures of heat maps: the map in colour over the image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from data_partition.decode import ImageFiles, image_name, rgb_image
from data_partition.image_store import store_side
from experiments.prediction_images import ImageBatch
from training.config import ExperimentConfig

if TYPE_CHECKING:
    from training.heat_maps import HeatMaps

LARGEST_SIDE = 640  # pixels, of a picture

# Perceptually uniform, so that equal steps of the map look equal; also for colour-blind eyes.
_COLOURS = "viridis"
_LEAST, _MOST = 0.15, 0.6  # opacity of the colour where the map is 0 and 1
_NAME_LENGTH = 100


class HeatPictures:
    """Writes the pictures of many images.

    Args:
        folder: an empty one.
        config: the run's.
        heat_maps: of the run's network.
    """

    def __init__(self, folder: Path, config: ExperimentConfig, heat_maps: HeatMaps) -> None:
        self._folder, self._config, self._heat_maps = folder, config, heat_maps
        self._taken: set[str] = set()

    def write(self, batch: ImageBatch, classes: NDArray[np.int64]) -> list[str]:
        """Write a picture of each image, for the class of each; return the files' names.

        Raises:
            DataError: an image cannot be read any more.
        """
        names = file_names(batch.rows["image"].tolist(), self._taken)
        maps = self._heat_maps(batch.pixels, classes)
        for name, photo, heat in zip(names, _photographs(batch), maps, strict=True):
            heat_picture(photo, heat, self._config).save(self._folder / name)
        return names


def _photographs(batch: ImageBatch) -> Iterator[Image.Image]:
    """Yield each image as it is in its file, reduced; slices as they are stored."""
    if batch.places is None:
        yield from map(Image.fromarray, batch.pixels)
        return
    with ImageFiles() as files:
        for path, member in batch.places:
            data = files.read(path, member)
            yield reduced(rgb_image(data, image_name(path, member), reduce_to=LARGEST_SIDE))


def reduced(image: Image.Image) -> Image.Image:
    """Return an image of at most `LARGEST_SIDE`, with its aspect ratio."""
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return image


def heat_picture(photo: Image.Image, heat: NDArray, config: ExperimentConfig) -> Image.Image:
    """Return a map over its image, enlarged to half of `LARGEST_SIDE` if it is smaller.

    What the network did not see, beside a square of the image, stays without colour.

    Args:
        photo: RGB, any size.
        heat: (g, g), values in [0, 1], from `training.heat_maps`.
        config: the run's, which says what the network saw of the image.
    """
    scale = max(1.0, LARGEST_SIDE / 2 / max(photo.size))
    size = [max(1, round(scale * side)) for side in photo.size]
    picture = photo.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    seen = seen_part(picture.size, config)
    part = np.asarray(picture.crop(seen), dtype=np.float32)
    smooth = Image.fromarray(heat.astype(np.float32)).resize(
        (seen[2] - seen[0], seen[3] - seen[1]), Image.Resampling.BICUBIC
    )
    values = np.clip(np.asarray(smooth), 0, 1)
    colours = colormaps[_COLOURS](values)[..., :3] * 255
    opacity = (_LEAST + (_MOST - _LEAST) * values)[..., None]
    blended = part + opacity * (colours - part)
    picture.paste(Image.fromarray(np.rint(blended).astype(np.uint8)), seen[:2])
    return picture


def seen_part(size: tuple[int, int], config: ExperimentConfig) -> tuple[int, int, int, int]:
    """Return what a network sees of an image: left, top, right and bottom, in pixels."""
    width, height = size
    if not config.keeps_aspect:
        return 0, 0, width, height
    share = config.image_size / store_side(config.image_size)
    side = max(1, round(share * min(size)))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def file_names(images: Sequence[str], taken: set[str]) -> list[str]:
    """Return a name for each image's picture, which every file system takes and no other has.

    Args:
        images: names or paths of images, which may hold anything.
        taken: names in use, in small letters; the new ones are added.
    """
    names = []
    for image in images:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePath(image).stem)[:_NAME_LENGTH].strip("_")
        stem, number = plain or "image", 1
        while (name := f"{stem}-{number}.png" if number > 1 else f"{stem}.png").lower() in taken:
            number += 1
        taken.add(name.lower())
        names.append(name)
    return names
