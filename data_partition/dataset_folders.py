"""Images of any classes in folders named after the classes: ``dataset = "folders"``."""

from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

from data_partition.dataset import DataSet, Study
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, storage
from data_partition.own_images import (
    MAX_CLASSES,
    OwnImages,
    as_rows,
    check_label,
    load_own_test,
    load_own_training,
)
from data_partition.unread_files import merge_set_aside, say_what_else, unread_files
from operation.text import printable

_SPLITS = {"training": "train", "validation": "validation", "test": "test"}
_OUTSIDE = "image outside the folders of the classes"


def is_folders(files: Sequence[FoundFile]) -> bool:
    """Return whether folders below ``train`` and below ``val`` or ``test`` name the same classes.

    Other class folders are only used if ``dataset = "folders"`` says so: any two folders of images
    look like two classes.
    """
    labels: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for file in files:
        if file.is_image and file.role in _SPLITS and file.below_role:
            labels[_SPLITS[file.role]].add(file.below_role[0])
    others = [found for name, found in labels.items() if name != "train" and found]
    return len(labels["train"]) > 1 and any(found <= labels["train"] for found in others)


def nearly_folders(files: Sequence[FoundFile]) -> str:
    """Return how to say that the folders of these files are classes; "" if they cannot be."""
    try:
        labels = sorted(set(read_folders(Path(), files).rows["label"]))
    except DataError:
        return ""
    if not 2 <= len(labels) <= MAX_CLASSES:
        return ""
    shown = f"{', '.join(labels[:-1])} and {labels[-1]}"
    return (
        f"if the folders {shown} are classes, say so with -c dataset=folders, or after "
        "fedskin data check with --dataset folders"
    )


def read_folders(directory: Path, files: Sequence[FoundFile]) -> OwnImages:
    """Label each image by the folder below ``train``, ``val`` or ``test`` that it is in.

    Without such folders the classes are the first folders that differ. An image may be in further
    folders below its class. Its id is its path. Nothing is decoded.

    Raises:
        DataError: there is no image in a class folder, or a folder's name cannot be a class.
    """
    images = [file for file in files if file.is_image]
    unsplit = [file for file in images if file.role is None]
    split = [file for file in images if file.role in _SPLITS]
    # With a folder for training, what is outside the splits is not used.
    if any(file.role == "training" for file in split):
        labelled = {file: file.below_role for file in split}
    else:
        common = _common([file.parts[:-1] for file in unsplit])
        labelled = {file: file.parts[common:-1] for file in unsplit}
        labelled |= {file: file.below_role for file in split}
    rows = []
    for file, folders in labelled.items():
        if folders:
            check_label(folders[0], f"the folder of {printable(file.name)}")
            split_name = None if file.role is None else _SPLITS[file.role]
            rows.append((file, file.name, folders[0], None, None, split_name))
    if not rows:
        raise DataError(
            f"no image in {directory} is in a folder named after a class, as in train/nevus/1.jpg "
            f"or nevus/1.jpg{say_what_else(files)}"
        )
    outside = [file.name for file in images if not labelled.get(file)]
    return OwnImages(
        rows=as_rows(rows),
        layout=f"one folder for each class ({storage([file for file, *_ in rows])})",
        set_aside=merge_set_aside(unread_files(files), {_OUTSIDE: outside}),
    )


def _common(folders: Sequence[tuple[str, ...]]) -> int:
    """Return the number of folders that all images are in; the class is below them.

    If all images are in the innermost of them, it is their class.
    """
    same = (len(set(names)) == 1 for names in zip(*folders, strict=False))
    common = sum(takewhile(bool, same))
    return common - (common > 0 and all(len(names) == common for names in folders))


DATA_SET = DataSet(
    name="folders",
    title="class-named folders",
    classes=None,
    sources="a table with a column source, dataset = table;",
    layouts="folders named after any classes, also below train/, val/ and test/",
    is_in=is_folders,
    nearly=nearly_folders,
    load_training=partial(load_own_training, read=read_folders),
    load_test=partial(load_own_test, read=read_folders),
    study=Study(batch_size={"classifier": 32, "clip": 16}),
)
