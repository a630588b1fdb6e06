"""Configs as a person writes them: TOML files, and ``key=value`` after ``-c``."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from operation.files import parse_toml
from training.config import DEFAULTS, ExperimentConfig, Scalar, parse
from training.errors import ConfigError


def read_config(
    path: Path | None, overrides: Iterable[str] = (), defaults: Mapping[str, Scalar] | None = None
) -> ExperimentConfig:
    """Read a TOML file, if one is given, put ``key=value`` overrides on top, and check all.

    An override's value is a bare word, or TOML (``true``, ``0.1``, ``"text"``). ``defaults``
    replace the keys' own defaults.

    Raises:
        ConfigError: the file is missing or not TOML, or a key is wrong.
    """
    # First: DIR of a mistyped  -c data-dir DIR  would be read as the file.
    own = dict(parse_override(override) for override in overrides)
    values: dict[str, Any] = dict(defaults or {})
    if path is not None:
        try:
            values |= parse_toml(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: is not a TOML file: {error}") from None
    return parse(values | own)


def parse_override(override: str) -> tuple[str, Any]:
    """Return the key and the value of ``key=value``, as after ``-c``.

    Raises:
        ConfigError: there is no ``=``.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"-c {override}: write it as key=value")
    return key.strip(), _parse_value(key.strip(), text.strip())


def _parse_value(key: str, text: str) -> Any:
    try:
        value = parse_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    if "\n" in text:  # a second line could set another key
        return text
    if isinstance(DEFAULTS.get(key), str) and key.endswith("-dir") and not isinstance(value, str):
        return text  # a folder may be called 2019 or true
    return value
