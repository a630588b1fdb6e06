"""A data set as a table: which images there are, where they lie and what they show."""

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from data_partition.image_reader import ImageReader
from data_partition.photographs import Photographs

HAM10000_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")

GroupedBy = Literal["lesion", "patient"]


@dataclass(frozen=True)
class ImageTable:
    """The images of one data set, recognised but not yet decoded.

    Attributes:
        rows: one row per image, sorted by ``image_id``, ids unique, index 0 … N - 1. Columns:
            ``image_id`` (str), ``label`` (str, one of ``classes``), ``lesion_id`` (str or None:
            which images show the same), ``source`` (str or None: the ``dataset`` column of the
            newer HAM10000 metadata, the site of a BraTS2019 case); ``split`` ("train",
            "validation" or "test") only where the data set itself comes split; and what the
            reader needs. For photographs that is ``path`` (str, absolute: an image file, or a zip
            archive) and ``member`` (str, the image's name inside that archive, or "").
        classes: class names in the order of the network's outputs.
        layout: the recognised layout in words, for people.
        set_aside: names of what was found but is not used, by reason (``"row without an image"``,
            ``"image without a row"``, ``"duplicate file"``, ``"unreadable image"``, …).
        reader: turns rows into pixels.
        grouped_by: what ``lesion_id`` names: a lesion in several photographs, or a patient, whose
            one tumour is seen in several slices.
        notices: what a person must know of the data, a sentence each.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    layout: str
    set_aside: dict[str, tuple[str, ...]]
    reader: ImageReader = field(default_factory=Photographs)
    grouped_by: GroupedBy = "lesion"
    notices: tuple[str, ...] = ()
