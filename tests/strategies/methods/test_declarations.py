"""What every method declares, and where it is described."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from strategies.methods import DEFAULT, KEYS, METHODS
from training.config import DEFAULTS

ROOT = Path(__file__).parents[3]
EVERY = pytest.mark.parametrize("name", METHODS)


@EVERY
def test_it_says_where_it_is_from(name: str) -> None:
    method = METHODS[name]
    assert method.title.lower().replace(" ", "-") == name
    assert method.paper[-4:].isdigit()
    assert method.equation
    assert method.server_init is None or method.server_step is not None
    assert not (method.carried or method.weight) or method.server_step is not None
    assert method.weight is None or method.scalars
    for key, said in method.keys.items():
        assert (type(DEFAULTS[key]), DEFAULTS[key]) == (type(said.default), said.default)


@EVERY
def test_it_is_documented(name: str) -> None:
    """One row with its title, equation, and each of its keys with the default."""
    rows = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
    method = METHODS[name]
    year = method.paper[-4:]
    for word in (method.title, method.equation, year, method.paper.split(" et al.")[0]):
        assert word in row, word
    for key, said in method.keys.items():
        assert f"`{key}` ({said.default}" in row, key
    said_of_buffers = import_module(f"strategies.methods.{name.replace('-', '_')}").__doc__
    assert "BatchNorm's" in said_of_buffers


def test_every_method_is_a_file_and_every_file_a_method() -> None:
    files = {path.stem for path in (ROOT / "strategies" / "methods").glob("[!_]*.py")}
    assert {name.replace("_", "-") for name in files} == METHODS.keys()
    assert next(iter(METHODS)) == DEFAULT


def test_methods_that_share_a_key_declare_it_equally() -> None:
    for name, key in KEYS.items():
        assert all(m.keys[name] == key for m in METHODS.values() if name in m.keys), name


def test_nothing_heavy_is_needed_to_know_the_methods() -> None:
    heavy = "{'torch', 'flwr', 'numpy'}"
    code = f"import sys, strategies.methods; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
