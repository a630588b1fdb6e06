"""TOML files of a site, read strictly."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from operation.errors import OperationError
from operation.files import parse_toml
from operation.text import known_names


class TomlTable(BaseModel):
    """A TOML table. Frozen; field ``data_dir`` is key ``data-dir``, and so on."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


Table = TypeVar("Table", bound=TomlTable)


def read_settings(kind: type[Table], path: Path) -> Table:
    """Read a file.

    Raises:
        OperationError: it is missing, not TOML, or has wrong keys; one message names all.
    """
    try:
        return kind.model_validate(parse_toml(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise OperationError(f"{path}: is not there; restore it from a backup") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OperationError(f"{path}: is not a TOML file: {error}; correct it") from None
    except ValidationError as error:
        faults = "; ".join(_fault(kind, fault) for fault in error.errors() if fault["loc"])
        raise OperationError(f"{path}: {faults or 'cannot be read'}; correct the file") from None


def _fault(kind: type[TomlTable], fault: ErrorDetails) -> str:
    key = str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "extra_forbidden":
        known = [name.replace("_", "-") for name in kind.model_fields]
        return f"{key}: no such key; {known_names(key, known)}"
    return f"{key} = {fault['input']!r}: {fault['msg']}"
