"""Flower's private parts are imported in one file, which is for one version of Flower."""

import ast
import importlib
import runpy
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from operation import flower_internals

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("data_partition", "models", "strategies", "training", "operation"),
    *("fl_server", "fl_client", "experiments", "fedskin"),
)
DOCUMENTED = ("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy")


def is_documented(module: str, name: str) -> bool:
    if module == "flwr.common":
        return name == "log"
    return module in DOCUMENTED and name in importlib.import_module(module).__all__


def private_parts(source: str) -> Iterator[str]:
    """Give each part of Flower in a file that Flower does not document."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "flwr":
                for alias in node.names:
                    if not is_documented(module, alias.name):
                        yield f"{module}.{alias.name}"
            case ast.Import():
                yield from (a.name for a in node.names if a.name.split(".")[0] == "flwr")
            case ast.Constant(value=str(text)) if text.startswith("flwr.") and " " not in text:
                if text not in DOCUMENTED:
                    yield text


@pytest.mark.parametrize(
    "line",
    [
        "from flwr.proto.message_pb2 import ObjectTree",
        "from flwr.common import Parameters",
        "from flwr.app import message",
        "import flwr",
        "import flwr.app as app",
        "import_module('flwr.supernode.main')",
    ],
)
def test_a_private_part_is_found(line: str) -> None:
    assert len(list(private_parts(line))) == 1


@pytest.mark.parametrize(
    "line", ["from flwr.app import Message", "from flwr.common import log", "import flwr_datasets"]
)
def test_a_documented_part_is_none(line: str) -> None:
    assert list(private_parts(line)) == []


def test_no_other_file_imports_a_private_part() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {part}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != Path(flower_internals.__file__)
        for part in private_parts(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("name", sorted(flower_internals._NAMES))
def test_the_installed_flower_has(name: str) -> None:
    module, there = flower_internals._NAMES[name]
    assert getattr(flower_internals, name) is getattr(importlib.import_module(module), there)


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Unheard'"):
        flower_internals.Unheard  # noqa: B018


def test_another_version_of_flower_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda package: "1.42.0")
    with pytest.raises(AssertionError, match=r"this is for flwr 1\.41, but 1\.42\.0 is here"):
        runpy.run_path(flower_internals.__file__)
