"""Some images of an image store: what one epoch trains on or is judged on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Some images of an image store.

    Attributes:
        images: (N, S, S, 3) uint8, all images of the store, memory-mapped.
        labels: (N,) int64, their classes.
        indices: (n,) int64, which of them belong to this split.
        patients: (N,) int64, the number of each image's patient where the images are slices of
            known patients; None for all others.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    patients: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)
