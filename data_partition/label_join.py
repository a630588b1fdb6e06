"""Joins image files and label rows into one table."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile, keep_first_copies
from data_partition.image_table import ImageTable
from data_partition.label_tables import merge_rows
from data_partition.unread_files import merge_set_aside, say_what_else

# Share of rows without a file, or of files without a row, from which a notice is given.
_LOUD = 1 / 20


def join_labels(
    directory: Path,
    labels: Iterable[pd.DataFrame],
    images: Iterable[FoundFile],
    layout: str,
    *,
    classes: tuple[str, ...],
    found: Sequence[FoundFile],
    set_aside: Mapping[str, Iterable[str]],
    left_out: Mapping[str, Collection[str]] = {},
    elsewhere: Collection[str] = (),
    hint: str = "",
) -> ImageTable:
    """Join label rows and image files by image id.

    Args:
        labels: label rows as ``label_tables`` reads them; those of one image are merged.
        images: image files; of copies of one image the first by name is used. If some are in a
            folder for validation, the table has a column ``split``.
        left_out: ids of images that have a label but are not used, by reason.
        elsewhere: ids of images in a folder for testing; their rows count as used.
        hint: the remedy to name if many images are missing.

    Returns:
        The images that have both a row and a file; all others are set aside, with their names.

    Raises:
        DataError: rows of one image contradict each other, or no image has both.
    """
    rows = merge_rows(labels)
    unused = {image_id for ids in left_out.values() for image_id in ids}
    rows = rows[~rows["image_id"].isin(unused)]
    files, copies = keep_first_copies(image for image in images if image.stem not in unused)
    known = set(rows["image_id"])
    ids_in_lower_case = {image_id.lower() for image_id in known}
    without_file = [image_id for image_id in rows["image_id"] if image_id not in files]
    missing = [image_id for image_id in without_file if image_id not in elsewhere]
    without_row = [file for image_id, file in files.items() if image_id not in known]
    other_case = {file for file in without_row if file.stem.lower() in ids_in_lower_case}
    unmatched = {
        "row without an image": missing,
        "row of an image in a folder for testing": [
            image_id for image_id in without_file if image_id in elsewhere
        ],
        "image whose id differs from its row's in upper and lower case": [
            file.name for file in without_row if file in other_case
        ],
        "image without a row": [file.name for file in without_row if file not in other_case],
        "duplicate file": copies,
    }
    used = rows[rows["image_id"].isin(list(files))].sort_values("image_id", ignore_index=True)
    if used.empty:
        raise DataError(
            f"no image in {directory} has both a label and a file; {_unlike(rows, files)}"
            f"{say_what_else(found)}"
        )
    chosen = [files[image_id] for image_id in used["image_id"]]
    used.insert(1, "path", [file.path for file in chosen])
    used.insert(2, "member", [file.member for file in chosen])
    notices = []
    if len(missing) >= _LOUD * (len(used) + len(missing)):
        notices.append(
            f"{len(missing):,} of {len(used) + len(missing):,} images that the table names are "
            f"missing in {directory}{hint}"
        )
    if len(without_row) >= _LOUD * len(files):
        notices.append(
            f"{len(without_row):,} of {len(files):,} image files in {directory} have no row in the "
            "table; provide the whole table"
        )
    if validation := sum(file.role == "validation" for file in chosen):
        used["split"] = ["validation" if file.role == "validation" else "train" for file in chosen]
        notices.append(
            f"{validation:,} images are in a validation folder: centralized training "
            "uses them for validation; a federation partitions them with the others"
        )
    return ImageTable(
        rows=used,
        classes=classes,
        layout=layout,
        set_aside=merge_set_aside(unmatched, left_out, set_aside),
        notices=tuple(notices),
    )


def storage(images: Iterable[FoundFile]) -> str:
    """Return where image files are, as text: "folders", "zip archives" or both."""
    kinds = {"zip archives" if image.member else "folders" for image in images}
    return " and ".join(sorted(kinds))


def _unlike(rows: pd.DataFrame, files: Mapping[str, FoundFile]) -> str:
    """Return how ids in a table and names of files differ, with an example of each."""
    if not files:
        return "put the image files beside their table"
    image_id, name = rows["image_id"].iloc[0], min(files)
    if image_id.lower() in {stem.lower() for stem in files}:
        return f"the ids differ in upper and lower case ({image_id}); write both in the same way"
    return (
        f"the table names {image_id}, but a file is called {files[name].name}; put the image "
        "files beside their table, under the names in it"
    )
