"""Reads the files of a run folder; what is damaged is told in a line with its path and a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operation.errors import InputError
from operation.files import parse_json
from training.errors import RunFolderError

COPY = "copy the folder again, or run its config.toml again"


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OSError: there is no such file.
        RunFolderError: it is not a JSON object.
    """
    return parse_object(path, path.read_bytes())


def parse_object(path: Path, content: bytes, line: int | None = None) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        path: of the file that it is from.
        line: its number there, if it is one of several.

    Raises:
        RunFolderError: it is none.
    """
    try:
        found = parse_json(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        where = "" if line is None else f", line {line}"
        raise RunFolderError(f"{path}{where}: is damaged, or of another version; {COPY}")
    return found


@contextmanager
def of_this_version(path: Path) -> Iterator[None]:
    """Tell in a line of entries that are missing or have another shape than this version's.

    Args:
        path: the file that the entries are from, or the folder.
    """
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise RunFolderError(
            f"{path}: was written by another version, {error} is missing; read it with that "
            "version, or run its config.toml again"
        ) from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise RunFolderError(f"{path}: is damaged, or of another version; {COPY}") from error
