"""A data set as a table: which images there are, where they lie and what they show."""

from dataclasses import dataclass

import pandas as pd

HAM10000_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@dataclass(frozen=True)
class ImageTable:
    """The images of one data set, recognised but not yet decoded.

    Attributes:
        rows: one row per image, sorted by ``image_id``, ids unique, index 0 … N - 1. Columns:
            ``image_id`` (str), ``path`` (str, absolute: an image file, or a zip archive),
            ``member`` (str, the image's name inside that archive, or ""), ``label`` (str, one of
            ``classes``), ``lesion_id`` (str or None), ``source`` (str or None: the ``dataset``
            column of the newer HAM10000 metadata).
        classes: class names in the order of the network's outputs.
        layout: the recognised layout in words, for people.
        set_aside: names of what was found but is not used, by reason (``"row without an image"``,
            ``"image without a row"``, ``"duplicate file"``, ``"unreadable image"``, …).
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    layout: str
    set_aside: dict[str, tuple[str, ...]]
