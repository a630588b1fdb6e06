"""TOML and JSON that overflow Python's parsers; all parsing goes through these functions."""

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from fl_server.bundle import PACKAGES
from operation.files import parse_json, parse_toml

DEEP = "[" * 100_000 + "]" * 100_000


def test_deep_nesting_is_an_error_like_any_other() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml(f"a = {DEEP}")
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


def test_what_is_whole_is_read() -> None:
    assert parse_toml("a = [1, 2]") == {"a": [1, 2]}
    assert parse_json(b'{"a": [1, 2]}') == json.loads('{"a": [1, 2]}')


def test_nobody_parses_otherwise() -> None:
    for package in (*PACKAGES, "fl_server.coordinator", "fl_client.site", "experiments"):
        for path in Path(str(resources.files(package.replace("/", ".")))).rglob("*.py"):
            if path.name not in ("files.py", "streaming_grid.py"):
                text = path.read_text(encoding="utf-8")
                assert not re.search(r"(tomllib|json)\.loads?\(", text), path
