"""The reference images of ``alignment``: a folder without labels that every client has."""

from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import IMAGE_SUFFIXES, find_files
from data_partition.image_store import ProgressCallback
from data_partition.image_table import ImageTable
from training.config import ExperimentConfig
from training.release import open_table
from training.split import StoredImages

_LABEL = "reference"  # an image store has labels; these mean nothing


def reference_table(config: ExperimentConfig) -> ImageTable | None:
    """Find the images below ``reference-dir``, zipped or not; None if the key is empty.

    Raises:
        DataError: there are fewer than two.
    """
    if not config.reference_dir:
        return None
    folder = Path(config.reference_dir)
    found = sorted((file for file in find_files(folder) if file.is_image), key=lambda f: f.name)
    if len(found) < 2:
        raise DataError(
            f"reference-dir = {config.reference_dir!r}: alignment needs at least two image files "
            f"({', '.join(IMAGE_SUFFIXES)}), but there are {len(found)}"
        )
    rows = pd.DataFrame(
        {
            "image_id": [file.name for file in found],
            "path": [file.path for file in found],
            "member": [file.member for file in found],
        }
    ).assign(label=_LABEL, lesion_id=None, source=None)
    return ImageTable(rows, (_LABEL,), "reference images", {})


def open_reference(
    config: ExperimentConfig, progress: ProgressCallback | None = None
) -> StoredImages | None:
    """Open the reference images of a config; None if there are none.

    Raises:
        DataError: fewer than two can be read.
    """
    table = reference_table(config)
    if table is None:
        return None
    store = open_table(config, table, progress)
    if len(store.rows) < 2:
        raise DataError(
            f"reference-dir = {config.reference_dir!r}: only {len(store.rows)} image can be read; "
            "alignment needs at least two"
        )
    return StoredImages.part(store)
