"""The images of a published data set: found by their places, labelled by the data set's reader."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile, beginning, find_files, keep_first_copies
from data_partition.image_table import ImageTable
from data_partition.label_tables import merge_rows
from data_partition.unread_files import (
    SetAside,
    merge_set_aside,
    missing_notices,
    say_what_else,
    unread_files,
)
from operation.text import counted


@dataclass(frozen=True)
class Labels:
    """The labels of a folder's images."""

    rows: Sequence[pd.DataFrame]  # label rows as ``label_tables`` reads them
    layout: str  # the recognised layout, as text
    # Ids of labelled images that are not used, by reason.
    left_out: Mapping[str, Collection[str]] = field(default_factory=dict)
    hint: str = ""  # the remedy to name if many images are missing


ReadLabels = Callable[[Path, list[FoundFile], list[FoundFile]], Labels]
"""Reads labels from the folder's name, for errors, the files of this part, and all files."""


def load_published_training(
    data_dir: Path, read: ReadLabels, classes: tuple[str, ...], tests_in: Sequence[Path] | None
) -> ImageTable:
    """Find the training images of a folder and return them as a table; nothing is decoded.

    Images in a validation folder are included and have the ``split`` "validation"; the ISIC
    challenge's own validation set is not used. Every image in the folder that is neither used nor a
    test image is set aside.

    Args:
        classes: class names in the order of the network's outputs.
        tests_in: as in `Reading`.

    Raises:
        DataError: as raised by ``read``; there is no such folder; two rows of an image contradict
            each other; or no image has a label.
    """
    found = find_files(data_dir)
    files = [file for file in found if file.role in ("training", "validation", None)]
    tests = [file for file in found if file.is_image and file.role == "test"]
    labels = read(data_dir, files, found)
    if tests_in is None:
        unused = []
    else:
        used = tuple(map(beginning, tests_in))
        unused = [file.name for file in tests if not file.path.startswith(used)]
    set_aside = {
        **unread_files(found),
        "image of the ISIC challenge's validation set, left alone": [
            file.name for file in found if file.is_image and file.role == "challenge validation"
        ],
        "image in a folder for testing, left alone: other images are the test set": unused,
    }
    images = [file for file in files if file.is_image]
    elsewhere = {file.stem for file in tests}
    return _join(data_dir, labels, images, classes, found, set_aside, elsewhere)


def load_published_test(
    data_dir: Path, test_dir: Path | None, read: ReadLabels, classes: tuple[str, ...], name: str
) -> ImageTable | None:
    """Find the test images in a folder and return them as a table; nothing is decoded.

    Args:
        data_dir: the folder of the training set, searched if ``test_dir`` is None.
        test_dir: the folder of the test set. If nothing in it is named as test data, files of any
            name are used, except those named as training or validation data. All other images in it
            that are not below ``data_dir`` are set aside.
        classes: class names in the order of the network's outputs.
        name: of the test set, for an error.

    Returns:
        The labelled test images; None if ``test_dir`` is None and ``data_dir`` has no test images.

    Raises:
        DataError: as raised by ``read``; there is no such folder, or no test set in ``test_dir``;
            two rows of an image contradict each other; or no image has a label.
    """
    directory = data_dir if test_dir is None else test_dir
    found = find_files(directory)
    files = [file for file in found if file.role == "test"]
    if test_dir is not None and not any(file.is_image for file in files):
        files = [file for file in found if file.role in ("test", None)]
    images = [file for file in files if file.is_image]
    if not images:
        if test_dir is None:
            return None
        raise DataError(
            f"no test images in {test_dir}; give the folder that holds the {name}, or leave the "
            f"test folder out{say_what_else(found)}"
        )
    labels = read(directory, files, found)
    set_aside: SetAside = {}
    if test_dir is not None:
        # Files below the data folder were already checked with the training set.
        inside = beginning(data_dir)
        beyond = [file for file in found if not file.path.startswith(inside)]
        used = set(images)
        others = [file.name for file in beyond if file.is_image and file not in used]
        set_aside = merge_set_aside(
            unread_files(beyond), {"image that is not named as a test image": others}
        )
    return _join(directory, labels, images, classes, found, set_aside)


def _join(
    directory: Path,
    labels: Labels,
    images: Sequence[FoundFile],
    classes: tuple[str, ...],
    found: Sequence[FoundFile],
    set_aside: Mapping[str, Sequence[str]],
    elsewhere: Collection[str] = (),
) -> ImageTable:
    """Join label rows and image files by image id; what has no partner is set aside.

    Args:
        elsewhere: ids of images in a folder for testing; their rows count as used.
    """
    rows = merge_rows(labels.rows)
    unused = {image_id for ids in labels.left_out.values() for image_id in ids}
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
    notices = missing_notices(
        directory, len(used), len(missing), len(without_row), hint=labels.hint
    )
    if validation := sum(file.role == "validation" for file in chosen):
        used["split"] = ["validation" if file.role == "validation" else "train" for file in chosen]
        notices.append(
            f"{counted(validation, 'image is', 'images are')} in a validation folder: centralized "
            "training uses them for validation; a federation partitions them with the others"
        )
    return ImageTable(
        rows=used,
        classes=classes,
        layout=labels.layout,
        set_aside=merge_set_aside(unmatched, labels.left_out, set_aside),
        notices=tuple(notices),
    )


def _unlike(rows: pd.DataFrame, files: Mapping[str, FoundFile]) -> str:
    """Return how ids in a table and names of files differ, with an example of each."""
    if not files:
        return "put the image files beside their table"
    if rows.empty:
        return "the table has no rows that can be used; get the whole table"
    image_id, name = rows["image_id"].iloc[0], min(files)
    if image_id.lower() in {stem.lower() for stem in files}:
        return f"the ids differ in upper and lower case ({image_id}); write both in the same way"
    return (
        f"the table names {image_id}, but a file is called {files[name].name}; put the image "
        "files beside their table, under the names in it"
    )
