"""Some images of an image store, and the splits of an experiment's images."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.copies import Overlap
from data_partition.image_store import ImageStore
from data_partition.partition import source_of


@dataclass(frozen=True)
class Split:
    """Some images of an image store.

    Attributes:
        images: (N, S, S, 3) uint8, all images of the store, memory-mapped; or (N, V, width)
            float32, the features of V views of each.
        labels: (N,) int64, their classes.
        indices: (n,) int64, which of them belong to this split.
        patients: (N,) int64, the number of each image's patient if the images are slices of
            known patients; otherwise None.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    patients: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def class_counts(self, num_classes: int) -> NDArray[np.int64]:
        """Return the number of its images of each class, (K,)."""
        return np.bincount(self.own_labels, minlength=num_classes)

    @property
    def own_labels(self) -> NDArray[np.int64]:
        """The classes of its images, (n,)."""
        return self.labels[self.indices]

    @property
    def own_patients(self) -> NDArray[np.int64] | None:
        """The number of each of its images' patient, (n,); None as ``patients``."""
        return None if self.patients is None else self.patients[self.indices]

    @property
    def holds_features(self) -> bool:
        """Whether it holds features instead of images."""
        return self.images.ndim == 3


@dataclass(frozen=True)
class FederatedData:
    """The training set, partitioned among clients.

    Attributes:
        store: all images; of slices also those of the global test patients.
        plan: one row per image of the store, in the store's order, with ``client``, ``split`` and
            ``source``, which are missing for images of no client: of global test patients, of the
            source that ``leave-out`` names, or beyond the split file.
    """

    store: ImageStore
    plan: pd.DataFrame

    def split(self, client: str, name: str) -> Split:
        """Return one split, ``train``, ``validation`` or ``test``, of a client."""
        chosen = np.zeros(len(self.plan), dtype=bool)
        chosen[self._places.get((client, name), [])] = True
        return select_images(self.store, chosen)

    @cached_property
    def _places(self) -> Mapping[Any, Any]:
        return self.plan.groupby(["client", "split"]).indices

    def of_all(self, name: str) -> Split:
        """Return one split of all clients together."""
        return select_images(self.store, (self.plan["split"] == name).to_numpy())

    def source(self, client: str) -> str:
        """Return the source that ``partition = source`` gave a client."""
        return source_of(self.plan, client)

    def places(self) -> list[str | None]:
        """Return for each image of the store its client and split, None if it has none."""
        held = zip(self.plan["client"], self.plan["split"], strict=True)
        return [None if pd.isna(client) else f"{client}, {split}" for client, split in held]


@dataclass(frozen=True)
class CentralData:
    """The whole training set, or one client's own images.

    Attributes:
        store: all images; of slices also those of the test patients.
        split_names: (N,) str, each image's split: ``train``, ``validation`` or ``test``.
    """

    store: ImageStore
    split_names: NDArray[np.str_]

    def split(self, name: str) -> Split:
        """Return one split, ``train``, ``validation`` or, for a client's own images, ``test``."""
        return select_images(self.store, self.split_names == name)

    def places(self) -> list[str | None]:
        """Return for each image of the store its split."""
        return list(self.split_names.tolist())


@dataclass(frozen=True)
class StoredImages:
    """Some images of a store, such as those that a network was trained on.

    Attributes:
        rows: their rows in the store, in the order of the split.
        classes: the store's, as are the labels and the fingerprint.
    """

    split: Split
    rows: pd.DataFrame
    classes: tuple[str, ...]
    fingerprint: str

    @classmethod
    def part(cls, store: ImageStore, chosen: NDArray[np.bool_] | None = None) -> Self:
        """Return the images of a store selected by ``chosen`` (N,); None: all."""
        if chosen is None:
            chosen = np.ones(len(store.rows), dtype=bool)
        rows = store.rows[chosen].reset_index(drop=True)
        return cls(select_images(store, chosen), rows, store.classes, store.fingerprint)


@dataclass(frozen=True)
class GlobalTestSet(StoredImages):
    """A test set that the server judges, its own store or some images of the common store.

    The global one; of slices, it is some patients of the common store. Or the source left out.

    Attributes:
        set_aside: images that its own store could not use; empty if it shares the training set's
            store.
        notices: of its own store; empty if it shares the training set's store.
        overlap: which of its images are also in training; None if the training images are at the
            sites, so that this cannot be checked.
    """

    set_aside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    overlap: Overlap | None = None

    @classmethod
    def whole(cls, store: ImageStore) -> Self:
        """Return all images of a store as the test set."""
        return replace(cls.part(store), set_aside=store.set_aside, notices=store.notices)


def select_images(store: ImageStore, chosen: NDArray[np.bool_]) -> Split:
    """Return the images of a store selected by ``chosen`` (N,), with their patients if known."""
    patients = None
    if store.sliced and store.rows["lesion_id"].notna().all():
        patients = pd.factorize(store.rows["lesion_id"])[0].astype(np.int64)
    return Split(store.images, store.labels, np.flatnonzero(chosen), patients)
