"""The folder of a synthetic data set: complete or absent, and marked as synthetic."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from data_partition.errors import DataError
from operation.files import creating_folder

TITLE = "SYNTHETIC IMAGES, WORTHLESS FOR MEDICINE\n"
NOTICE = "SYNTHETIC images: a program drew them, and they say nothing about patients"


def is_synthetic(*directories: Path | str) -> bool:
    """Return whether a data folder, or one in it, was written by this program.

    Args:
        directories: the folders to check; empty names are skipped.
    """
    return any(
        readme.is_file() and readme.read_bytes().startswith(TITLE.encode())
        for directory in directories
        if str(directory)
        for pattern in ("README.txt", "*/README.txt")
        for readme in Path(directory).glob(pattern)
    )


@contextmanager
def new_folder(directory: Path, readme: str, *, seed: int) -> Iterator[Path]:
    """Yield a folder to write into, which becomes ``directory`` at the end, with a README.txt.

    If the body raises an error, the folder is removed.

    Args:
        directory: the final folder; it may exist if it is empty.

    Raises:
        DataError: ``directory`` is not empty or cannot be written, or ``seed`` is below 0.
    """
    if seed < 0:
        raise DataError(f"seed {seed}: a seed is 0 or more")
    try:
        if directory.exists() and any(directory.iterdir()):
            raise DataError(f"{directory}: not empty; name a new folder")
        with creating_folder(directory.absolute()) as building:
            (building / "README.txt").write_text(f"{TITLE}\n{readme}", encoding="utf-8")
            yield building
    except OSError as error:
        raise DataError(f"{directory}: cannot be written ({error.strerror or error})") from error


def in_parallel(draw: Callable[[int], None], count: int) -> None:
    """Call ``draw`` with 0 … count - 1, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, range(count)))
