"""Configs as a person writes them: TOML files, and ``key=value`` after ``-c``."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from operation.files import parse_toml, read_toml
from training.config import ExperimentConfig, Scalar, parse
from training.config import defaults as defaults_of
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
            values |= read_toml(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: is not a TOML file: {error}") from None
    return parse(values | own)


def parse_whole(content: bytes) -> ExperimentConfig:
    """Return the config in a run's ``config.toml``, which holds every key.

    A default in place of a missing key would be another version's, and say what was not so.

    Raises:
        ConfigError: one line, without the file's name: it is not TOML, holds other keys than this
            version's, or a wrong value.
    """
    try:
        values = parse_toml(content.decode())
    except ValueError as error:
        raise ConfigError(f"is not TOML: {error}; copy the folder again") from None
    if strange := sorted(values.keys() ^ defaults_of(values).keys()):
        what = "unknown" if strange[0] in values else "missing"
        raise ConfigError(
            f"of another version, key {strange[0]} is {what}; read it with the version of fedskin "
            "that manifest.json names, or make the run again"
        )
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(str(error).splitlines()[0]) from None


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
    field = ExperimentConfig.model_fields.get(key.replace("-", "_"))
    if field is not None and field.annotation is str and not isinstance(value, str):
        return text  # a folder or a source may be called 2019 or true
    return value
