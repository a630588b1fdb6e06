"""Finds the files of a data set in folders and, without unpacking, in zip archives."""

import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Literal

from data_partition.decode import LFS_REMEDY, ImageFiles, is_lfs_pointer
from data_partition.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

# What a name in a table cannot hold: control characters, and bytes that are not UTF-8.
_NOT_FOR_TABLES = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

Role = Literal["training", "validation", "test", "challenge validation"]

# The parts of a release, by how ISIC's and Dataverse's file names begin.
_ROLE_PREFIXES: tuple[tuple[str, Role], ...] = (
    ("isic2018_task3_training", "training"),
    # 193 images that belong to neither HAM10000 nor the test set.
    ("isic2018_task3_validation", "challenge validation"),
    ("isic2018_task3_test", "test"),
    ("isic_2019_training", "training"),
    ("isic_2019_test", "test"),
    ("ham10000_images", "training"),
    ("ham10000_metadata", "training"),
)
_BEGINNINGS = tuple(prefix for prefix, _ in _ROLE_PREFIXES)
_ROLE_WORDS: dict[str, Role] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# Folders named by users: train, train_dir, Test-Images, HAM10000_val, trainset, test 2.
_SPLIT_FOLDER = re.compile(
    r"(?:(?P<before>.*)[-_ .])?(?P<word>" + "|".join(_ROLE_WORDS) + r")"
    r"(?:[-_ .]?(?:dir|folder|set|dataset|split|data|images?|imgs?|inputs?|slices|cases))*"
    r"[-_ .]?[0-9]*"
)
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class FoundFile:
    """One file below a data folder."""

    path: str  # absolute path of the file, or of the zip archive that holds it
    member: str  # the file's name inside that archive; "" for a plain file
    # The path from the data folder to the file; an archive counts as a folder.
    parts: tuple[str, ...]
    size: int  # bytes inside the archive; -1 for a plain file, whose size is read only when needed
    dangling: bool = False  # whether it is a link to a missing file

    @property
    def name(self) -> str:
        """The path to the file, relative to the data folder."""
        return "/".join(self.parts)

    @property
    def stem(self) -> str:
        """The file's name without its suffix; of an image this is its id."""
        name = self.parts[-1]
        return name[: _dot(name)]

    @property
    def suffix(self) -> str:
        """The file's suffix in lower case with its dot, or ""."""
        name = self.parts[-1]
        return name[_dot(name) :].lower()

    @property
    def is_image(self) -> bool:
        """Whether the suffix is one of ``IMAGE_SUFFIXES``, in any case, and the file exists."""
        return self.suffix in IMAGE_SUFFIXES and not self.dangling

    @property
    def role(self) -> Role | None:
        """The part of a release that the file belongs to, by its path; None if no name tells.

        The innermost name that tells decides: ``test/ISIC2018_Task3_Training_Input/x.jpg`` is a
        training image. The file's own name counts only if it begins like a release's file names.
        """
        return self._role[0]

    @property
    def below_role(self) -> tuple[str, ...]:
        """The folders below the one that tells the role; () if none tells."""
        role, depth = self._role
        return self.parts[len(self.parts) - depth : -1] if role and depth else ()

    @property
    def _role(self) -> tuple[Role | None, int]:
        """The role and how far up the path the name is that tells it; 0 is the file's own."""
        own = _role_by_beginning(self.parts[-1])
        return (own, 0) if own else _role_of_folders(self.parts[:-1])

    def read_bytes(self) -> bytes:
        """Return the file's content, also from an archive.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            with ImageFiles() as source:
                return source.read(self.path, self.member)
        except OSError as error:
            raise DataError(f"cannot read {self.name} ({error}); allow reading it") from error

    def first_line(self) -> str:
        """Return the first line of a text file; for other files the result has no meaning.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            with ImageFiles() as source:
                head = source.read_head(self.path, self.member, _HEAD_BYTES)
        except OSError as error:
            raise DataError(f"cannot read {self.name} ({error}); allow reading it") from error
        return head.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")


def beginning(folder: Path) -> str:
    """Return what ``FoundFile.path`` of every file below a folder begins with."""
    return os.path.abspath(folder) + os.sep  # noqa: PTH100 - as in find_files


def storage(images: Iterable[FoundFile]) -> str:
    """Return where image files are, as text: "folders", "zip archives" or both."""
    kinds = {"zip archives" if image.member else "folders" for image in images}
    return " and ".join(sorted(kinds))


def find_files(directory: Path) -> list[FoundFile]:
    """Return all files below a folder. Links are followed; hidden files are left out.

    Returns:
        The files sorted by ``parts``.

    Raises:
        DataError: a folder does not exist or cannot be read, an archive is damaged, or a name
            cannot stand in a table.
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
    for file in files:
        if _NOT_FOR_TABLES.search(name := "/".join(file.parts)):
            raise DataError(
                f"{directory}: a file's name holds a control character, or is not UTF-8: "
                f"{name!a}; rename it"
            )
    return sorted(files, key=lambda file: file.parts)


def keep_first_copies(images: Iterable[FoundFile]) -> tuple[dict[str, FoundFile], tuple[str, ...]]:
    """Keep one file for each image id.

    Returns:
        By image id, the first file in order of ``parts``; and the names of the other copies. The
        name of a copy with different bytes says so.
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
        stat = Path(path).stat()
        listed = _listed(path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    except (zipfile.BadZipFile, OSError) as error:
        if _is_pointer(path):
            raise DataError(f"{path}: {LFS_REMEDY}") from error
        raise DataError(
            f"not a readable zip archive: {path} ({error}); download it again or move it away"
        ) from error
    return [FoundFile(path, name, (*way, *inner), size) for name, inner, size in listed]


@lru_cache(maxsize=64)
def _listed(path: str, _stamp: tuple[int, int, int]) -> list[tuple[str, tuple[str, ...], int]]:
    """Return name, parts and size of an archive's files, but hidden ones.

    Kept, since a run looks for its training and its test images several times.

    Args:
        _stamp: of the archive, which is read again with another one.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    named = ((info, PurePosixPath(info.filename).parts) for info in infos if not info.is_dir())
    return [
        (info.filename, inner, info.file_size)
        for info, inner in named
        if not any(_is_hidden(part) for part in inner)
    ]


def _is_pointer(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return is_lfs_pointer(file.read(64))
    except OSError:
        return False


def _dot(name: str) -> int:
    """Return where a name's suffix begins, as in pathlib, which takes ten times as long."""
    place = name.rfind(".")
    return place if 0 < place < len(name) - 1 else len(name)


@lru_cache(maxsize=1024)
def _role_of_folders(parts: tuple[str, ...]) -> tuple[Role | None, int]:
    for depth, part in enumerate(reversed(parts), start=1):
        found = _role_by_beginning(part) or _role_of_folder(part.lower().removesuffix(".zip"))
        if found:
            return found, depth
    return None, 0


def _role_by_beginning(name: str) -> Role | None:
    name = name.lower()
    if not name.startswith(_BEGINNINGS):
        return None
    return next(role for prefix, role in _ROLE_PREFIXES if name.startswith(prefix))


@lru_cache(maxsize=1024)
def _role_of_folder(name: str) -> Role | None:
    match = _SPLIT_FOLDER.fullmatch(name)
    if match is None:
        return None
    before = re.split("[-_ .]", match["before"] or "")
    # "train_test" names two parts, so it does not tell.
    return None if any(word in _ROLE_WORDS for word in before) else _ROLE_WORDS[match["word"]]


def _is_hidden(name: str) -> bool:
    # macOS writes "._x.jpg" beside x.jpg on other file systems, and __MACOSX into archives.
    return name.startswith(".") or name == "__MACOSX"


def _size(file: FoundFile) -> int:
    return file.size if file.member else Path(file.path).stat().st_size


def _refuse(error: OSError) -> None:
    raise DataError(
        f"cannot read the folder {error.filename}: {error.strerror}; allow reading it"
    ) from error
