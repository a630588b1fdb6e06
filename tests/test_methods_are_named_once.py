"""Only its own file names a method in the code; comments and docstrings may give an example."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from strategies.methods import KEYS, METHODS

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("data_partition", "models", "strategies", "training", "operation"),
    *("fl_server", "fl_client", "experiments"),
)
# The study's figures are of methods that it names; a function of Flower's has one in its name.
EXEMPT = {"experiments/reporting/study_figures.py", "operation/flower_internals.py"}
# English words, which mean other things elsewhere: a comparison with the strategy names a method.
WORDS = {"local", "median", "pooled"} & METHODS.keys()
NAMES = ({*METHODS} - WORDS) | {*KEYS} | {key.replace("-", "_") for key in KEYS}
COMPARISON = re.compile(
    rf"""strategy["'\])]*\s*(?:==|!=|in\b)\s*[({{\["']*({"|".join(WORDS)})["']"""
)
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.parent != ROOT / "strategies" / "methods"
)


def words(tree: ast.Module) -> Iterator[str]:
    """Every identifier and every text of a module that is not a docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.ImportFrom(module=module, names=names):
                yield from (module or "", *(alias.name for alias in names))
            case ast.Import(names=names):
                yield from (alias.name for alias in names)


def named(source: str) -> set[str]:
    found = " ".join(words(ast.parse(source))).lower()
    return {name for name in NAMES if name in found} | {*COMPARISON.findall(source)}


@pytest.mark.parametrize("path", FILES)
def test_no_other_file_names_a_method_or_its_keys(path: str) -> None:
    if path in EXEMPT:
        assert named((ROOT / path).read_text(encoding="utf-8"))
    else:
        assert named((ROOT / path).read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source, expected",
    [
        ('if strategy == "fedprox": pass', {"fedprox"}),
        ("from flwr.serverapp.strategy import FedAvg", {"fedavg"}),
        ("config.proximal_mu", {"proximal_mu"}),
        ("replace(proximal_mu=1)", {"proximal_mu"}),
        ('settings["proximal-mu"]', {"proximal-mu"}),
        ("class FedAdamLike: pass", {"fedadam"}),
        ('if settings["strategy"] == "median": pass', {"median"}),
        ("if config.strategy in ('median', 'x'): pass", {"median"}),
        ("strategy = median(strategies)", set()),
        ('"""As FedProx does."""  # and FedAvg', set()),
    ],
)
def test_what_counts_as_naming(source: str, expected: set[str]) -> None:
    assert named(source) == expected
