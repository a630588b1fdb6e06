"""Some images of an image store, and how an experiment's images are shared out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.image_store import ImageStore
from operation.text import printable

_SOURCE_LENGTH = 40  # of a name that stands in tables


@dataclass(frozen=True)
class Split:
    """Some images of an image store.

    Attributes:
        images: (N, S, S, 3) uint8, all images of the store, memory-mapped; or (N, V, width)
            float32, the features of V views of each.
        labels: (N,) int64, their classes.
        indices: (n,) int64, which of them belong to this split.
        patients: (N,) int64, the number of each image's patient where the images are slices of
            known patients; None for all others.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    patients: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def holds_features(self) -> bool:
        """Whether features stand in the place of the images."""
        return self.images.ndim == 3


@dataclass(frozen=True)
class FederatedData:
    """The training release, cut among clients.

    Attributes:
        store: all images; of BraTS2019 also those of the global test patients.
        plan: one row per image of the store, in the store's order, with ``source``, and with
            ``client`` and ``split``, both missing where the image is a global test patient's.
    """

    store: ImageStore
    plan: pd.DataFrame

    def split(self, client: str, name: str) -> Split:
        """Return one split, ``train``, ``validation`` or ``test``, of a client."""
        chosen = (self.plan["client"] == client) & (self.plan["split"] == name)
        return some_of(self.store, chosen.to_numpy())

    def source(self, client: str) -> str:
        """Return the source that ``partition = source`` gave a client.

        A lesion goes with its first image, so some images may be of another source.
        """
        sources = self.plan.loc[self.plan["client"] == client, "source"]
        return printable(str(sources.value_counts().idxmax()), _SOURCE_LENGTH)


@dataclass(frozen=True)
class CentralData:
    """The training release, or one client's own images, in one place.

    Attributes:
        store: all images; of BraTS2019 also those of the test patients.
        split_names: (N,) str, what each image is for: ``train``, ``validation`` or ``test``.
    """

    store: ImageStore
    split_names: NDArray[np.str_]

    def split(self, name: str) -> Split:
        """Return one split, ``train``, ``validation`` or, of a client's own, ``test``."""
        return some_of(self.store, self.split_names == name)


@dataclass(frozen=True)
class GlobalTestSet:
    """The global test set: a store of its own, or of BraTS2019 some patients of the one store.

    Attributes:
        split: its images.
        rows: their rows of the store, in the order of the split.
        classes: the store's, as are the labels and the fingerprint.
        set_aside: what its own store could not use; nothing where it shares the training's.
        notices: what a person must know of it, likewise.
    """

    split: Split
    rows: pd.DataFrame
    classes: tuple[str, ...]
    fingerprint: str
    set_aside: dict[str, tuple[str, ...]]
    notices: tuple[str, ...] = ()

    @classmethod
    def whole(cls, store: ImageStore) -> "GlobalTestSet":
        """Return all images of a store that holds nothing else."""
        split = some_of(store, np.ones(len(store.labels), dtype=bool))
        return cls(
            split, store.rows, store.classes, store.fingerprint, store.set_aside, store.notices
        )


@dataclass(frozen=True)
class TrainingImages:
    """The images that a run's network learnt from.

    Attributes:
        split: n images.
        rows: their rows of the store, in the split's order.
        fingerprint: the store's.
        classes: the store's.
    """

    split: Split
    rows: pd.DataFrame
    fingerprint: str
    classes: tuple[str, ...]


def some_of(store: ImageStore, chosen: NDArray[np.bool_]) -> Split:
    """Return the images of a store that are chosen (N,), with their patients where known."""
    patients = None
    if store.grouped_by == "patient" and store.rows["lesion_id"].notna().all():
        patients = pd.factorize(store.rows["lesion_id"])[0].astype(np.int64)
    return Split(store.images, store.labels, np.flatnonzero(chosen), patients)
