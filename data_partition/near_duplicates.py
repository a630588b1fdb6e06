"""Images that look like another one turned, mirrored, cropped or encoded anew.

The perceptual hash is ImageHash's ``phash``: the signs of an image's lowest frequencies. Hashes of
the eight ways to turn and mirror one image are compared with those of cut-outs of the other.
docs/data.md has the rates of hits and false alarms by which hash and threshold were chosen.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

# The lowest 12 x 12 frequencies of a grey picture of 48 x 48 pixels.
HASH_SIZE = 12
BITS = HASH_SIZE**2
_SIDE = 4 * HASH_SIZE
# Pairs that differ in more bits are not near: of two pictures of different lesions, one in a
# million differs in fewer.
MAX_BITS = 10

# Parts of width and height around the centre: the whole; what cropping leaves; and squares cut out
# of pictures of 4 : 3, as which an upright one stands when it is turned.
_CUT_OUTS = (*((part, part) for part in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)), (0.75, 1.0))

# Images of which distances to all others are in memory at once.
_BLOCK = 16


class NearDuplicates:
    """Gathers the hashes of images, and finds the pairs that are near."""

    def __init__(self) -> None:
        # Of each image, of BITS bits in W words of 64: (8, W) of the whole, turned and mirrored;
        # and (C, W) of its cut-outs, the first of which is the whole.
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
        """Find the pairs of images that differ in at most ``MAX_BITS`` bits, however turned or cut.

        Returns:
            Columns ``first`` < ``second``, the places of the images in the order in which they
            were added, and ``bits``, in how many they differ; fewest first.
        """
        if not self._turned:
            return pd.DataFrame(columns=["first", "second", "bits"])
        turned, cut = np.stack(self._turned), np.stack(self._cut)
        starts = range(0, len(cut), _BLOCK)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy works outside the lock
            found = list(pool.map(partial(_near, turned, cut), starts))
        nearest = pd.concat(found).groupby(["first", "second"])["bits"].min().reset_index()
        return nearest.sort_values(["bits", "first", "second"], ignore_index=True)


def _cut(image: Image.Image, width: float, height: float) -> Image.Image:
    left, upper = image.width * (1 - width) / 2, image.height * (1 - height) / 2
    box = (left, upper, image.width - left, image.height - upper)
    return image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, box=box)


def _hash(image: Image.Image) -> NDArray[np.uint64]:
    bits = np.packbits(imagehash.phash(image, hash_size=HASH_SIZE).hash.ravel())
    return np.pad(bits, (0, -len(bits) % 8)).view(np.uint64)


def _near(turned: NDArray[np.uint64], cut: NDArray[np.uint64], start: int) -> pd.DataFrame:
    """Compare the cut-outs of some images (N, C, W) with all images, turned (N, 8, W)."""
    some = cut[start : start + _BLOCK].reshape(-1, cut.shape[-1])
    all_ = turned.reshape(-1, turned.shape[-1])
    # By the first word most pairs are known to be too far apart.
    close = [np.flatnonzero(np.bitwise_count(all_[:, 0] ^ w) <= MAX_BITS) for w in some[:, 0]]
    one = np.repeat(np.arange(len(some)), [len(found) for found in close])
    other = np.concatenate(close)
    bits = np.bitwise_count(some[one] ^ all_[other]).sum(axis=1, dtype=np.int64)
    image, partner = start + one // cut.shape[1], other // turned.shape[1]
    kept = (bits <= MAX_BITS) & (image != partner)
    pairs = np.sort(np.stack([image[kept], partner[kept]], axis=1), axis=1)
    return pd.DataFrame({"first": pairs[:, 0], "second": pairs[:, 1], "bits": bits[kept]})
