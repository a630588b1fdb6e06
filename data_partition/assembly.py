"""Image files and label rows put together to one table."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile, keep_first_copies
from data_partition.image_table import HAM10000_CLASSES, ImageTable
from data_partition.label_tables import merge_rows


def assemble(
    directory: Path, labels: Iterable[pd.DataFrame], images: Iterable[FoundFile], layout: str
) -> ImageTable:
    """Joins label rows and image files by image id.

    Args:
        directory: the data folder, for the error message.
        labels: label rows as ``label_tables`` reads them; those of one image are merged.
        images: image files; of copies of one image the first by name is used.
        layout: the recognised layout in words.

    Returns:
        The images that have both a row and a file; all others are set aside by name.

    Raises:
        DataError: rows of one image contradict each other, or no image has both.
    """
    rows = merge_rows(labels)
    files, copies = keep_first_copies(images)
    has_file = rows["image_id"].isin(list(files))
    known = set(rows["image_id"])
    found = {
        "row without an image": tuple(rows["image_id"][~has_file]),
        "image without a row": tuple(
            file.name for image_id, file in files.items() if image_id not in known
        ),
        "duplicate file": copies,
    }
    rows = rows[has_file].sort_values("image_id", ignore_index=True)
    if rows.empty:
        raise DataError(
            f"no image in {directory} has both a label and a file; "
            "put the image files beside their table"
        )
    used = [files[image_id] for image_id in rows["image_id"]]
    rows.insert(1, "path", [file.path for file in used])
    rows.insert(2, "member", [file.member for file in used])
    return ImageTable(
        rows=rows,
        classes=HAM10000_CLASSES,
        layout=layout,
        set_aside={reason: names for reason, names in found.items() if names},
    )


def storage(images: Iterable[FoundFile]) -> str:
    """How image files are kept, in words: "folders", "zip archives" or both."""
    kinds = {"zip archives" if image.member else "folders" for image in images}
    return " and ".join(sorted(kinds))
