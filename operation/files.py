"""Atomic writes: a file or folder is either the old one or the new one, never half-written."""

import errno
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from operation.errors import OperationError
from operation.toml_remedy import remedy

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        tomllib.TOMLDecodeError: it is not TOML, or nested too deeply for Python's parser, which
            would otherwise raise RecursionError. Where only quotes are missing, it says so.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise tomllib.TOMLDecodeError(f"{error}{remedy(text, str(error))}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file that a person wrote; some editors begin it with a byte order mark.

    Raises:
        OSError: it cannot be read.
        tomllib.TOMLDecodeError: as `parse_toml`; or it is not UTF-8.
    """
    try:
        return parse_toml(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise tomllib.TOMLDecodeError("save it as UTF-8") from None


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON, or nested too deeply for Python's parser, which would otherwise
            raise RecursionError.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


Record = TypeVar("Record")

# Names of `replacing`, and of safetensors, which writes to a file of its own beside the one named.
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp|\.tmp\w{6}")

# What the system says when a disk, or a user's share of it, is full.
FULL = (errno.ENOSPC, errno.EDQUOT)


def keep_private() -> None:
    """Make files and folders of this process and its children readable by their owner only.

    The environment variable FEDSKIN_UMASK, octal digits as for the shell's ``umask``, sets another
    mask, such as 027 for a group that shares its runs.

    Raises:
        OperationError: the variable has another form.
    """
    said = os.environ.get("FEDSKIN_UMASK", "077")
    if not re.fullmatch("[0-7]{3,4}", said):
        raise OperationError(f"FEDSKIN_UMASK = {said!r}: write octal digits, such as 027")
    os.umask(int(said, 8))


def read_record(kind: type[Record], values: object, path: Path) -> Record:
    """Return a dataclass made of the values in a file, after checking their types.

    Raises:
        OperationError: a field is missing, unknown, or of another type.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        if not isinstance(values, dict) or not values.keys() <= names:
            raise ValueError
        found: Record = _adapter(kind).validate_python(values)  # type: ignore[arg-type]
        return found
    except ValueError:  # pydantic's ValidationError is one, too
        raise OperationError(
            f"{path}: is damaged, or was written by another version; restore it from a backup"
        ) from None


@cache
def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    """Return what checks a dataclass; to make it takes 500 times as long as to check one."""
    from pydantic import TypeAdapter  # imported here, since most commands do not need it

    return TypeAdapter(kind)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make the error of a full disk name what was to be written; write() itself names nothing."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


def check_writable(path: Path) -> None:
    """Check that a file can be written, before its content takes minutes to compute.

    Raises:
        OperationError: it is a folder, or the folder that it would be in cannot be written to.
    """
    if path.is_dir():
        raise OperationError(f"{path}: is a folder; name a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise OperationError(f"{path}: {above} cannot be written to; name another file")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` to write to; rename it to ``path`` at the end.

    Missing parent folders are created. If the body raises, ``path`` is unchanged and the
    temporary file is removed; the error of a full disk names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # so a power cut cannot leave the name without its bytes
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left, also in the folders inside.

    Args:
        folder: which nobody else writes to now; it may be missing.
    """
    for at, _, names in os.walk(folder):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                (Path(at) / name).unlink(missing_ok=True)


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` to write to; rename it to ``path`` at the end.

    Missing parent folders are created. If the body raises, the new folder is removed, and so is one
    that a killed process has left. The bytes of its files are not forced to disk.

    Args:
        path: the folder, which may exist if it is empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")
    for leftover in path.parent.iterdir():
        if ours.fullmatch(leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)
    building = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    building.mkdir()
    try:
        yield building
        building.replace(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def append_bytes(path: Path, content: bytes) -> None:
    """Add to a file, which is made if it is missing, and force it to disk.

    What is added becomes visible piece by piece; a kill may leave a part of it.
    """
    with naming(path), path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode())


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from the first byte on."""
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)  # one left by a killed process may have other permissions
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no such file.

    Raises:
        OperationError: the file is not a JSON object.
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OperationError(f"{path}: is damaged; restore it from a backup, or delete it")
    return found
