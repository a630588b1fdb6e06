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


@pytest.mark.parametrize(
    "line, said",
    [
        ("strategy = local", '; text needs quotes: strategy = "local"'),
        ("  data-dir=/data/my skin  # mine", '; text needs quotes: data-dir = "/data/my skin"'),
        ("data-dir = C:\\skin", "; text needs quotes: data-dir = 'C:\\skin'"),
        ("heads = knn,svm", '; text needs quotes: heads = "knn,svm"'),
        ("split-file = 2019-x", '; text needs quotes: split-file = "2019-x"'),
        ("seed = [0, x, true]", '; text needs quotes: seed = [0, "x", true]'),
        (
            'data-dir = "C:\\Users\\me"',
            "; text with \\ needs single quotes: data-dir = 'C:\\Users\\me'",
        ),
        (
            "backbone = \N{LEFT DOUBLE QUOTATION MARK}resnet18\N{RIGHT DOUBLE QUOTATION MARK}",
            '; text needs straight quotes: backbone = "resnet18"',
        ),
        ("pretrained = True", "; write in small letters: pretrained = true"),
        ("momentum = 0,9", ""),
        ("rounds =", ""),
        ("rounds 3", ""),
        ('a = x"', ""),
        ("a = x\x1b", ""),
        ("a = {b = c}", ""),
        ("a = [[b]]", ""),
        ("a = [", ""),
        (f"a = {'x' * 300}", ""),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_without_quotes_is_told_corrected(line: str, said: str, end: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        parse_toml(end.join(["seed = 1", line, "rounds = 2", ""]))
    assert re.sub(r".*\((at line|at end).*?\)", "", str(caught.value)) == said
    if said:
        parse_toml(said.split(": ")[1])


def test_nobody_parses_otherwise() -> None:
    for package in (*PACKAGES, "fl_server.coordinator", "fl_client.site", "experiments"):
        for path in Path(str(resources.files(package.replace("/", ".")))).rglob("*.py"):
            if path.name not in ("files.py", "streaming_grid.py"):
                text = path.read_text(encoding="utf-8")
                assert not re.search(r"(tomllib|json)\.loads?\(", text), path
