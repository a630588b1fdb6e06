"""A data set as a table: its images, their files and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_reader import ImageReader, Photographs
from operation.text import printable, quoted

GroupedBy = Literal["lesion", "patient"]


@dataclass(frozen=True)
class ImageTable:
    """The images of one data set, not yet decoded.

    Attributes:
        rows: one row per image, sorted by ``image_id``, ids unique, index 0 … N - 1. Columns:
            ``image_id`` (str), ``label`` (str, one of ``classes``), ``lesion_id`` (str or None:
            which images show the same lesion), ``source`` (str or None: the camera, clinic or site
            that an image is from); ``split`` ("train",
            "validation" or "test") only if the data set is already split; and the columns that the
            reader needs. For photographs these are ``path`` (str, absolute: an image file, or a zip
            archive) and ``member`` (str, the image's name inside that archive, or "").
        classes: class names in the order of the network's outputs.
        set_aside: names of files and rows that are not used, by reason (``"row without an image"``,
            ``"image without a row"``, ``"duplicate file"``, ``"unreadable image"``, …).
        grouped_by: the meaning of ``lesion_id``: ``lesion`` or ``patient``, which may have several
            images.
        sliced: whether images are slices of patients' volumes, see `dataset.DataSet`.
        notices: sentences about the data that every table and manifest shows to the user.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    layout: str
    set_aside: dict[str, tuple[str, ...]]
    reader: ImageReader = field(default_factory=Photographs)
    grouped_by: GroupedBy = "lesion"
    sliced: bool = False
    notices: tuple[str, ...] = ()

    def with_classes(self, classes: Sequence[str]) -> "ImageTable":
        """Return the table of a test set with the classes of the training set.

        Raises:
            DataError: an image has another class.
        """
        other = self.rows[~self.rows["label"].isin(list(classes))]
        if len(other):
            image_id, label = other.iloc[0][["image_id", "label"]]
            raise DataError(
                f"test image {printable(image_id)} has the class {quoted(label)}, which training "
                f"does not have: {', '.join(classes)}; correct the label or leave the image out"
            )
        return replace(self, classes=tuple(classes))


def check_table(table: object, dataset: str) -> ImageTable:
    """Return the table that a package's data set gave, if it is one with labels.

    Raises:
        DataError: it is not what `ImageTable` describes.
    """
    if not isinstance(table, ImageTable):
        raise DataError(f"dataset = {dataset!r}: gives {type(table).__name__}, not an ImageTable")
    rows = table.rows
    if lacking := {"image_id", "label", "lesion_id", "source"} - set(rows):
        raise DataError(f"dataset = {dataset!r}: its table lacks the column {min(lacking)}")
    ids = rows["image_id"]
    if not (
        ids.is_unique and ids.is_monotonic_increasing and (rows.index == range(len(ids))).all()
    ):
        raise DataError(
            f"dataset = {dataset!r}: the rows of its table must be sorted by image_id, each once, "
            "with the index 0, 1, …"
        )
    if strange := sorted(set(rows["label"]) - set(table.classes)):
        raise DataError(
            f"dataset = {dataset!r}: its table has the label {strange[0]!r}, but not this class"
        )
    return table
