"""The door for data sets: what one of them says about itself.

A data set is a file ``dataset_<name>.py`` in this folder with one object ``DATA_SET``. No other
code names a data set; it asks `datasets.find_dataset`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_partition.axial_slices import SliceChoice
from data_partition.image_files import FoundFile
from data_partition.image_table import ImageTable
from data_partition.published_split import PublishedSplit


@dataclass(frozen=True)
class Reading:
    """What a config says about reading a data folder.

    Attributes:
        tests_in: the folders whose test images are used; None: the data folder itself. Other test
            images in the data folder are set aside.
        modalities: of the red, the green and the blue channel; for volumes only.
        slices_per_patient: number of slices of each volume, at least 1; for volumes only.
        slice_choice: which slices, see `AxialSlices`; for volumes only.
        by_source: whether sources are the clients; images that cannot have one are then set aside.
    """

    tests_in: Sequence[Path] | None = None
    modalities: tuple[str, str, str] = ("t1ce", "t2", "flair")
    slices_per_patient: int = 8
    slice_choice: SliceChoice = "tumour"
    by_source: bool = False


@dataclass(frozen=True)
class Study:
    """The settings of the study (docs/study.md) that depend on the data set, or our choice.

    Attributes:
        central_shares: of training and validation in a centralized run.
        images: number of training and of test images in the study, by the slices of a volume that
            are used; None if the study does not have the data set.
    """

    batch_size: Mapping[str, int]
    central_shares: tuple[float, float] = (0.8, 0.2)
    images: Callable[[Reading], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Synthetic:
    """The maker of a synthetic data set."""

    unit: Literal["images", "patients"]  # what is counted, and the option of ``fedskin data synth``
    default: int
    write: Callable[[Path, int, int], None]  # writes so many into a new folder, from a seed
    wrote: str  # what was written, with ``{count}``


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: in the config; the file is ``dataset_<name>.py``.
        title: its usual spelling.
        classes: class names in the order of the network's outputs; None: each data folder names its
            own, in the order of their names.
        full_names: by label, for the prompts of text encoders. A label without one is written with
            blanks for ``_`` and ``-``.
        named_first: classes that every table names first, because missing one of them harms a
            patient most.
        licence: the terms of the published images; empty if each folder has its own.
        sources: where the sources of images come from and how to add them, for an error.
        layouts: how to tell its folders, for the error about an unknown folder.
        is_in: whether these files are its; with ``dataset = "auto"`` and no name given.
        nearly: what has to be said or changed so that these files are its, for the same error; ""
            if they are something else.
        load_training: reads the training table of a folder; nothing is decoded.
        load_test: reads the test table, from the data folder or, if it is given, a test folder;
            None if there is none. The attribute is None for a data set whose test images are in its
            training table, so that ``test-dir`` is not allowed.
        load_unlabelled: reads a folder of volumes to predict; None: such images are plain files.
        sliced: whether images are slices of patients' volumes: figures are also by patient, a
            patient is never divided, and some patients of its own are the test set.
        published_split: a split of its images that ``split`` names.
        notices: what every table says, by the choice of slices.
    """

    name: str
    title: str
    classes: tuple[str, ...] | None
    sources: str
    layouts: str
    is_in: Callable[[Sequence[FoundFile]], bool]
    load_training: Callable[[Path, Reading], ImageTable]
    load_test: Callable[[Path, Path | None], ImageTable | None] | None
    study: Study
    nearly: Callable[[Sequence[FoundFile]], str] = lambda _: ""
    licence: str = ""
    full_names: Mapping[str, str] = field(default_factory=dict)
    named_first: tuple[str, ...] = ()
    load_unlabelled: Callable[[Path, Reading], ImageTable] | None = None
    sliced: bool = False
    synthetic: Synthetic | None = None
    published_split: PublishedSplit | None = None
    notices: Callable[[SliceChoice], tuple[str, ...]] = lambda _: ()

    def names_in_words(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Return the name of each class in words, for its prompt."""
        return tuple(
            self.full_names.get(label) or " ".join(re.split("[-_ ]+", label)).strip()
            for label in classes
        )
