"""A hospital's own images and a table of their labels, of any classes: ``dataset = "table"``."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data_partition.dataset import DataSet, Study
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, storage
from data_partition.own_images import (
    OwnImages,
    as_rows,
    check_label,
    load_own_test,
    load_own_training,
)
from data_partition.own_label_table import (
    Row,
    files_by_name,
    find_table,
    image_path,
    is_label_table,
    named_file,
    nearly_label_table,
    read_rows,
)
from data_partition.unread_files import merge_set_aside, missing_notices, unread_files
from operation.text import printable, quoted

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def read_labelled(directory: Path, files: Sequence[FoundFile]) -> OwnImages:
    """Read the table of a folder and find the images that it names.

    An image is named by its path from the table or from the data folder, or by the end of its path
    if that is enough to tell it; with its suffix or without. Its id is that name as written, with
    ``/`` between folders. Images of one patient, or if patients are unknown of one lesion, are one
    group. Nothing is decoded.

    Raises:
        DataError: there is no such table, or several; the table is too large, unreadable, or lacks
            a column; a cell has characters that cannot be printed; a path is absolute or leads out
            of the folder; a name fits several files, or two names fit one; a label or a split is
            missing or cannot be used; a lesion has two patients; or no image is found.
    """
    table = find_table(directory, files)
    rows = list(read_rows(table))
    images = [file for file in files if file.is_image]
    index = files_by_name(images)
    patient_of = _patients(rows)
    has_split = any(row.cells["split"] for row in rows)
    labelled: dict[FoundFile, Row] = {}
    unlabelled, without_file, result = [], [], []
    for row in rows:
        image_id, path = image_path(row)
        found = named_file(path, row, table, index)
        if not row.cells["label"]:
            unlabelled.append(image_id)
            continue
        check_label(row.cells["label"], row.where)
        split = _split(row) if has_split else None
        if found is None:
            without_file.append(image_id)
            continue
        if found in labelled:
            raise DataError(
                f"{row.where}: image {printable(image_id)} is named twice, first in "
                f"{labelled[found].where}; remove one row"
            )
        labelled[found] = row
        lesion = row.known("lesion")
        group = row.known("patient") or patient_of.get(lesion or "") or lesion
        result.append((found, image_id, row.cells["label"], group, row.known("source"), split))
    if not result:
        example = f", such as {printable(without_file[0])}" if without_file else ""
        raise DataError(
            f"{directory}: none of the {len(rows)} rows of {printable(table.name)} has a label and "
            f"an image file{example}; put the images beside or below the table"
        )
    named = set(labelled)
    without_row = [file.name for file in images if file not in named]
    set_aside = {
        "row without an image": without_file,
        "row without a label": unlabelled,
        "image without a row": without_row,
    }
    notices = missing_notices(directory, len(result), len(without_file), len(without_row))
    return OwnImages(
        rows=as_rows(result),
        layout=f"{printable(table.name)} and its images ({storage(named)})",
        set_aside=merge_set_aside(unread_files(files), set_aside),
        grouped_by="patient" if any(row.cells["patient"] for row in rows) else "lesion",
        notices=tuple(notices),
    )


def _split(row: Row) -> str:
    split = _SPLITS.get(row.cells["split"].lower())
    if split is None:
        raise DataError(
            f"{row.where}: split is {quoted(row.cells['split'])}; write train, validation or test "
            "in every row"
        )
    return split


def _patients(rows: Sequence[Row]) -> dict[str, str]:
    """Return the patient of each lesion whose patient is known."""
    patient_of: dict[str, str] = {}
    for row in rows:
        lesion, patient = row.known("lesion"), row.known("patient")
        if lesion is None or patient is None:
            continue
        other = patient_of.setdefault(lesion, patient)
        if other != patient:
            raise DataError(
                f"{row.where}: lesion {quoted(printable(lesion, 40))} is of patient "
                f"{quoted(printable(patient, 40))} here and of {quoted(printable(other, 40))} "
                "above; correct one"
            )
    return patient_of


DATA_SET = DataSet(
    name="table",
    title="a table of labels",
    classes=None,
    sources="the table's column source, which is missing or has gaps; fill it",
    layouts="a CSV with the columns image and label beside or above the images",
    is_in=is_label_table,
    nearly=nearly_label_table,
    load_training=partial(load_own_training, read=read_labelled),
    load_test=partial(load_own_test, read=read_labelled),
    study=Study(batch_size={"classifier": 32, "clip": 16}),
)
