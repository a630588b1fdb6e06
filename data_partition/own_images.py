"""A hospital's own images, of any classes: from read rows to the tables of training and test."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_partition.dataset import Reading
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, beginning, find_files
from data_partition.image_table import GroupedBy, ImageTable
from data_partition.unread_files import SetAside, merge_set_aside
from operation.text import counted, printable, quoted

MAX_CLASSES = 32
MAX_LABEL = 60
"""Characters of a label; it becomes a column of tables and a class name at the coordinator."""

# Columns that stand beside the classes in tables of predictions.
_RESERVED = frozenset(
    {"image_id", "label", "predicted", "patient_id", "lesion_id", "image", "name", "patient"}
    | {"set", "set by class", "always in set by class", "heat map"}
)
_BESIDE_LETTERS = " _-.+()&'"
_COLUMNS = ["image_id", "path", "member", "label", "lesion_id", "source", "split"]


@dataclass(frozen=True)
class OwnImages:
    """The labelled images of one folder."""

    # One row for each image, with the columns of an `ImageTable` and ``split``: "train",
    # "validation", "test", or None if nothing says.
    rows: pd.DataFrame
    layout: str
    set_aside: SetAside
    grouped_by: GroupedBy = "lesion"  # what ``lesion_id`` names
    notices: tuple[str, ...] = ()  # see `ImageTable`


Read = Callable[[Path, Sequence[FoundFile]], OwnImages]


def load_own_training(data_dir: Path, reading: Reading, read: Read) -> ImageTable:
    """Return the training table of a folder, its classes in the order of their names.

    Args:
        reading: ``tests_in`` counts.
        read: reads the images of a folder from its files.

    Raises:
        DataError: as raised by ``read``; there are fewer than two classes, too many, or one with a
            single image.
    """
    tests_in = None if reading.tests_in is None else [*map(beginning, reading.tests_in)]
    files = [
        file
        for file in find_files(data_dir)
        if not any(file.path.startswith(folder) for folder in tests_in or ())
    ]
    found = read(data_dir, files)
    is_test = found.rows["split"] == "test"
    rows = found.rows[~is_test]
    unused = [] if tests_in is None else found.rows["image_id"][is_test].tolist()
    reason = "image for testing, left alone: other images are the test set"
    notices = list(found.notices)
    if validation := int((rows["split"] == "validation").sum()):
        rows = rows.assign(split=rows["split"].fillna("train"))
        notices.append(
            f"{counted(validation, 'image is', 'images are')} for validation: centralized training "
            "uses them for validation; a federation partitions them with the others"
        )
    else:
        rows = rows.drop(columns="split")
    _check_classes(data_dir, rows)
    set_aside = merge_set_aside(found.set_aside, {reason: unused})
    return _table(rows, found, set_aside, tuple(notices))


def load_own_test(data_dir: Path, test_dir: Path | None, read: Read) -> ImageTable | None:
    """Return the test table of a folder; None if there is none and none is asked for.

    The classes are those of the test images; see `ImageTable.with_classes`.

    Args:
        data_dir: the folder of the training set, searched if ``test_dir`` is None.
        test_dir: the folder of the test set. If nothing in it is marked as training, validation or
            test, all of it is the test set. The ids of its images begin with ``test/``, since both
            folders may have an image of one name.
        read: as for `load_own_training`.

    Raises:
        DataError: as raised by ``read``, or there is no test image in ``test_dir``.
    """
    if test_dir is None:
        found = read(data_dir, find_files(data_dir))
        rows = found.rows[found.rows["split"] == "test"]
        if rows.empty:
            return None
        return _table(rows.drop(columns="split"), found, {}, ())
    inside, outside = beginning(data_dir), beginning(test_dir)
    files = find_files(test_dir)
    if inside != outside and inside.startswith(outside):
        files = [file for file in files if not file.path.startswith(inside)]
    found = read(test_dir, files)
    rows, others = found.rows, pd.DataFrame({"image_id": []})
    if rows["split"].notna().any():
        others, rows = rows[rows["split"] != "test"], rows[rows["split"] == "test"]
    if rows.empty:
        raise DataError(
            f"no test images in {test_dir}: all {len(others)} images are for training or "
            "validation; name another folder, or leave test-dir out"
        )
    rows = rows.drop(columns="split").assign(image_id="test/" + rows["image_id"])
    set_aside = merge_set_aside(
        found.set_aside, {"image that is not for testing": others["image_id"].tolist()}
    )
    return _table(rows, found, set_aside, found.notices)


def check_label(label: str, where: str) -> None:
    """Refuse what cannot be the name of a class.

    Raises:
        DataError: it names the label and ``where`` it is.
    """
    shown = quoted(printable(label, MAX_LABEL + 1))
    if len(label) > MAX_LABEL:
        raise DataError(f"{where} has the label {shown}; use at most {MAX_LABEL} characters")
    if label.lower() in _RESERVED:
        raise DataError(
            f"{where} has the label {shown}, which is a column of our tables; call it otherwise"
        )
    if not all(letter.isalnum() or letter in _BESIDE_LETTERS for letter in label):
        raise DataError(
            f"{where} has the label {shown}; use letters, digits, blanks and "
            f"{' '.join(_BESIDE_LETTERS.strip())}"
        )


def as_rows(
    rows: Iterable[tuple[FoundFile, str, str, str | None, str | None, str | None]],
) -> pd.DataFrame:
    """Return rows for `OwnImages` from each image's file, id, label, group, source and split."""
    placed = [(name, file.path, file.member, *rest) for file, name, *rest in rows]
    # Text or None, also where a column has no text at all.
    return pd.DataFrame(placed, columns=_COLUMNS, dtype=object)


def _table(
    rows: pd.DataFrame, found: OwnImages, set_aside: SetAside, notices: tuple[str, ...]
) -> ImageTable:
    return ImageTable(
        rows=rows.sort_values("image_id", ignore_index=True),
        classes=tuple(sorted(set(rows["label"]))),
        layout=found.layout,
        set_aside=set_aside,
        grouped_by=found.grouped_by,
        notices=notices,
    )


def _check_classes(directory: Path, rows: pd.DataFrame) -> None:
    classes = sorted(set(rows["label"]))
    if len(classes) < 2:
        only = f"only the class {quoted(classes[0])}" if classes else "no labelled training image"
        raise DataError(f"{directory} has {only}; at least two classes are needed")
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"{directory} has {len(classes)} classes, such as {', '.join(map(quoted, classes[:3]))}"
            f"; at most {MAX_CLASSES} are possible: are these the labels?"
        )
    in_lower_case: dict[str, str] = {}
    for label in classes:
        other = in_lower_case.setdefault(label.lower(), label)
        if other != label:
            raise DataError(
                f"{directory} has the classes {quoted(other)} and {quoted(label)}; write both in "
                "the same way"
            )
    counts = rows["label"].value_counts()
    for label in classes:
        if counts[label] == 1:
            [image_id] = rows["image_id"][rows["label"] == label]
            raise DataError(
                f"{directory} has a single image of class {quoted(label)}, {printable(image_id)}; "
                "correct its label, add further images or leave it out"
            )
