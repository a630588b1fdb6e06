"""The files of a data set, found in folders and, without unpacking them, in zip archives."""

import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Literal

from data_partition.decode import LFS_REMEDY, ImageFiles, is_lfs_pointer
from data_partition.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

Role = Literal["training", "validation", "test", "challenge validation"]

# What a release calls its parts: ISIC's and Dataverse's names begin so.
_ROLE_PREFIXES: tuple[tuple[str, Role], ...] = (
    ("isic2018_task3_training", "training"),
    # 193 images that are part of neither HAM10000 nor the test set.
    ("isic2018_task3_validation", "challenge validation"),
    ("isic2018_task3_test", "test"),
    ("ham10000_images", "training"),
    ("ham10000_metadata", "training"),
)
_ROLE_WORDS: dict[str, Role] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# A folder of people's own: train, train_dir, Test-Images, HAM10000_val, trainset, test 2.
_SPLIT_FOLDER = re.compile(
    r"(?:(?P<before>.*)[-_ .])?(?P<word>" + "|".join(_ROLE_WORDS) + r")"
    r"(?:[-_ .]?(?:dir|folder|set|dataset|split|data|images?|imgs?|inputs?|slices|cases))*"
    r"[-_ .]?[0-9]*"
)
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class FoundFile:
    """One file below a data folder.

    Attributes:
        path: absolute path of the file, or of the zip archive that holds it.
        member: the file's name inside that archive, or "".
        parts: the way to the file from the data folder, an archive counting as a folder.
        size: bytes inside the archive; -1 for a plain file, whose size is asked for only when
            it matters.
        dangling: whether it is a link to a file that is not there.
    """

    path: str
    member: str
    parts: tuple[str, ...]
    size: int
    dangling: bool = False

    @property
    def name(self) -> str:
        """The way to the file in words, relative to the data folder."""
        return "/".join(self.parts)

    @cached_property
    def stem(self) -> str:
        """The file's own name without its suffix: for an image, its id."""
        return PurePosixPath(self.parts[-1]).stem

    @cached_property
    def suffix(self) -> str:
        """The file's suffix in lower case, with its dot, or ""."""
        return PurePosixPath(self.parts[-1]).suffix.lower()

    @property
    def is_image(self) -> bool:
        """Whether the suffix is one of ``IMAGE_SUFFIXES``, in any case, and the file is there."""
        return self.suffix in IMAGE_SUFFIXES and not self.dangling

    @cached_property
    def role(self) -> Role | None:
        """The part of a release the file belongs to by its name, or None if no name says it.

        The innermost telling name decides: ``test/ISIC2018_Task3_Training_Input/x.jpg`` is a
        training image. A file's own name tells only where it begins as a release's do.
        """
        for depth, part in enumerate(reversed(self.parts)):
            name = part.lower().removesuffix(".zip")
            for prefix, role in _ROLE_PREFIXES:
                if name.startswith(prefix):
                    return role
            if depth and (found := _role_of_folder(name)):
                return found
        return None

    def read_bytes(self) -> bytes:
        """The file's content, also out of an archive.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            with ImageFiles() as source:
                return source.read(self.path, self.member)
        except OSError as error:
            raise DataError(f"cannot read {self.name} ({error}); allow reading it") from error

    def first_line(self) -> str:
        """The first line of a text file; of any other, whatever its first bytes give.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            with ImageFiles() as source:
                head = source.read_head(self.path, self.member, _HEAD_BYTES)
        except OSError as error:
            raise DataError(f"cannot read {self.name} ({error}); allow reading it") from error
        return head.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")


def find_files(directory: Path) -> list[FoundFile]:
    """Finds every file below a folder, links followed, hidden files left out.

    Args:
        directory: the folder to look in; the zip archives in it are looked into as well.

    Returns:
        The files sorted by ``parts``.

    Raises:
        DataError: there is no such folder, a folder cannot be read, or an archive is damaged.
    """
    if not directory.is_dir():
        raise DataError(f"no such folder: {directory}; give the folder that holds the data set")
    top = os.path.abspath(directory)  # noqa: PTH100 — resolve() would replace the links
    files: list[FoundFile] = []
    seen: set[str] = set()
    for folder, folders, names in os.walk(top, onerror=_refuse, followlinks=True):
        # A link may lead back to a folder above it.
        true_folder = os.path.realpath(folder)
        if true_folder in seen:
            folders.clear()
            continue
        seen.add(true_folder)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        way = Path(folder).relative_to(top).parts
        for name in names:
            if _is_hidden(name):
                continue
            path = f"{folder}{os.sep}{name}"
            if name.lower().endswith(".zip") and Path(path).exists():
                files.extend(_members(path, (*way, name)))
            else:
                dangling = os.path.islink(path) and not os.path.exists(path)  # noqa: PTH110, PTH114 - a Path per image doubles the time
                files.append(FoundFile(path, "", (*way, name), -1, dangling))
    return sorted(files, key=lambda file: file.parts)


def keep_first_copies(images: Iterable[FoundFile]) -> tuple[dict[str, FoundFile], tuple[str, ...]]:
    """Keeps one file for every image id.

    Args:
        images: image files in any order.

    Returns:
        The first file in order of ``parts`` by image id, and the names of the other copies. A
        copy with other bytes than the file kept says so in its name.

    Raises:
        DataError: a copy inside a damaged archive.
    """
    kept: dict[str, FoundFile] = {}
    copies: list[str] = []
    by_id = sorted(images, key=lambda file: (file.stem, file.parts))
    with ImageFiles() as source:
        for image_id, group in groupby(by_id, key=lambda file: file.stem):
            first, *others = group
            kept[image_id] = first
            for other in others:
                same = _size(first) == _size(other) and (
                    source.read(first.path, first.member) == source.read(other.path, other.member)
                )
                copies.append(other.name if same else f"{other.name} (differs from {first.name})")
    return kept, tuple(copies)


def _members(path: str, way: tuple[str, ...]) -> list[FoundFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        if _is_pointer(path):
            raise DataError(f"{path}: {LFS_REMEDY}") from error
        raise DataError(
            f"not a readable zip archive: {path} ({error}); download it again or move it away"
        ) from error
    found = []
    for info in infos:
        inner = PurePosixPath(info.filename).parts
        if not info.is_dir() and not any(_is_hidden(part) for part in inner):
            found.append(FoundFile(path, info.filename, (*way, *inner), info.file_size))
    return found


def _is_pointer(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return is_lfs_pointer(file.read(64))
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _role_of_folder(name: str) -> Role | None:
    match = _SPLIT_FOLDER.fullmatch(name)
    if match is None:
        return None
    before = re.split("[-_ .]", match["before"] or "")
    # "train_test" says that both are in it, which is no answer.
    return None if any(word in _ROLE_WORDS for word in before) else _ROLE_WORDS[match["word"]]


def _is_hidden(name: str) -> bool:
    # macOS leaves "._x.jpg" beside x.jpg on foreign disks, and __MACOSX in its archives.
    return name.startswith(".") or name == "__MACOSX"


def _size(file: FoundFile) -> int:
    return file.size if file.member else Path(file.path).stat().st_size


def _refuse(error: OSError) -> None:
    raise DataError(
        f"cannot read the folder {error.filename}: {error.strerror}; allow reading it"
    ) from error
