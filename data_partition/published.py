"""The images of a published data set: found by their places, labelled by the data set's reader."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile, beginning, find_files
from data_partition.image_table import ImageTable
from data_partition.label_join import join_labels
from data_partition.unread_files import SetAside, merge_set_aside, say_what_else, unread_files


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
    challenge's own validation set is not used.

    Args:
        data_dir: the folder that holds the release.
        read: reads the labels.
        classes: class names in the order of the network's outputs.
        tests_in: the folders whose test images are used; None: the data folder itself. Other test
            images in the data folder are set aside.

    Returns:
        The labelled images. Every image in the folder that is neither used nor a test image is set
        aside.

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
    return join_labels(
        data_dir,
        labels.rows,
        [file for file in files if file.is_image],
        labels.layout,
        classes=classes,
        found=found,
        set_aside=set_aside,
        left_out=labels.left_out,
        elsewhere={file.stem for file in tests},
        hint=labels.hint,
    )


def load_published_test(
    data_dir: Path, test_dir: Path | None, read: ReadLabels, classes: tuple[str, ...], name: str
) -> ImageTable | None:
    """Find the test images in a folder and return them as a table; nothing is decoded.

    Args:
        data_dir: the folder of the training set, searched if ``test_dir`` is None.
        test_dir: the folder of the test set. If nothing in it is named as test data, files of any
            name are used, except those named as training or validation data. All other images in it
            that are not below ``data_dir`` are set aside.
        read: reads the labels.
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
    return join_labels(
        directory,
        labels.rows,
        images,
        labels.layout,
        classes=classes,
        found=found,
        set_aside=set_aside,
        left_out=labels.left_out,
    )
