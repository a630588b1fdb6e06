"""Finds images that look like another image rotated, mirrored, cropped or encoded again.

The perceptual hash is ImageHash's ``phash``: the signs of an image's lowest frequencies. Hashes of
the eight rotations and reflections of one image are compared with hashes of crops of the other.
docs/data.md has the rates of hits and false alarms, by which hash and threshold were chosen.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# The lowest 12 x 12 frequencies of a grey image of 48 x 48 pixels.
HASH_SIZE = 12
BITS = HASH_SIZE**2
_SIDE = 4 * HASH_SIZE
# Pairs that differ in more bits are not near. Of pairs of images of different lesions, one in a
# million differs in this many bits or fewer.
MAX_BITS = 10

# Crops around the centre, as shares of width and height: the whole image; smaller crops; and
# squares of 4 : 3 images, which show the same part when an image is rotated by 90°.
_CUT_OUTS = (*((part, part) for part in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)), (0.75, 1.0))

# Number of images whose distances to all others are in memory at once.
_BLOCK = 16


class NearDuplicates:
    """Collects the hashes of images, and finds the pairs that are near."""

    def __init__(self) -> None:
        # Hashes of each image, BITS bits in W words of 64: (8, W) of the whole image, rotated and
        # mirrored; and (C, W) of its crops, the first of which is the whole image.
        self._turned: list[NDArray[np.uint64]] = []
        self._cut: list[NDArray[np.uint64]] = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Hash the next image, (S, S, 3)."""
        grey = Image.fromarray(pixels).convert("L")
        whole, *cut_outs = (_cut(grey, *parts) for parts in _CUT_OUTS)
        first, *turned = map(_hash, [whole, *map(whole.transpose, Image.Transpose)])
        self._turned.append(np.stack([first, *turned]))
        self._cut.append(np.stack([first, *map(_hash, cut_outs)]))

    def pairs(self) -> pd.DataFrame:
        """Find the pairs that differ in at most ``MAX_BITS`` bits, rotated, mirrored or cropped.

        Returns:
            Columns ``first`` < ``second``, the indices of the images in the order they were added,
            and ``bits``, the number of different bits; fewest first.
        """
        if not self._turned:
            return pd.DataFrame(columns=["first", "second", "bits"])
        turned, cut = np.stack(self._turned), np.stack(self._cut)
        starts = range(0, len(cut), _BLOCK)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy works outside the lock
            found = list(pool.map(partial(_near, turned, cut), starts))
        nearest = pd.concat(found).groupby(["first", "second"])["bits"].min().reset_index()
        return nearest.sort_values(["bits", "first", "second"], ignore_index=True)


def near_groups(images: NDArray[np.uint8], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each chosen image the first one that it is near, also through others.

    Args:
        images: (N, S, S, 3), read one after the other.
        chosen: (n,) indices of images.

    Returns:
        (n,) places in ``chosen``: of place i at most i; equal ones mean images that look alike.
    """
    found = NearDuplicates()
    for index in chosen:
        found.add(images[index])
    pairs = found.pairs()[["first", "second"]].to_numpy(dtype=np.int64)
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(chosen), len(chosen)))
    _, group = connected_components(links, directed=False)
    _, first = np.unique(group, return_index=True)
    return first[group]


def _cut(image: Image.Image, width: float, height: float) -> Image.Image:
    left, upper = image.width * (1 - width) / 2, image.height * (1 - height) / 2
    box = (left, upper, image.width - left, image.height - upper)
    return image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, box=box)


def _hash(image: Image.Image) -> NDArray[np.uint64]:
    bits = np.packbits(imagehash.phash(image, hash_size=HASH_SIZE).hash.ravel())
    return np.pad(bits, (0, -len(bits) % 8)).view(np.uint64)


def _near(turned: NDArray[np.uint64], cut: NDArray[np.uint64], start: int) -> pd.DataFrame:
    """Compare crops of some images (N, C, W) with all images, rotated and mirrored (N, 8, W)."""
    some = cut[start : start + _BLOCK].reshape(-1, cut.shape[-1])
    all_ = turned.reshape(-1, turned.shape[-1])
    # The first word already shows that most pairs are too far apart.
    close = [np.flatnonzero(np.bitwise_count(all_[:, 0] ^ w) <= MAX_BITS) for w in some[:, 0]]
    one = np.repeat(np.arange(len(some)), [len(found) for found in close])
    other = np.concatenate(close)
    bits = np.bitwise_count(some[one] ^ all_[other]).sum(axis=1, dtype=np.int64)
    image, partner = start + one // cut.shape[1], other // turned.shape[1]
    kept = (bits <= MAX_BITS) & (image != partner)
    pairs = np.sort(np.stack([image[kept], partner[kept]], axis=1), axis=1)
    return pd.DataFrame({"first": pairs[:, 0], "second": pairs[:, 1], "bits": bits[kept]})
