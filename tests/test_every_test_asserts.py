"""No test without an assertion: code that merely runs says nothing about what it did."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
EXPECTING = ("raises", "warns", "fail", "wait_until")  # of pytest, and tests/runs.py


def asserts(function: ast.AST, helpers: dict[str, ast.AST], seen: frozenset[str]) -> bool:
    """Return whether a function asserts something, by itself or in a helper of the same file."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Raise) and "AssertionError" in ast.unparse(node):
            return True
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name.startswith("assert_") or name in EXPECTING:
            return True
        if name in helpers.keys() - seen and asserts(helpers[name], helpers, seen | {name}):
            return True
    return False


def without_assertion(source: str) -> Iterator[str]:
    """Give the names of the test functions that assert nothing."""
    functions = {
        node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)
    }
    for name, node in functions.items():
        if name.startswith("test_") and not asserts(node, functions, frozenset()):
            yield name


def test_every_test_asserts_something() -> None:
    silent = [
        f"{path.relative_to(TESTS)}: {name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for name in without_assertion(path.read_text(encoding="utf-8"))
    ]
    assert not silent


def test_a_test_that_merely_runs_is_found() -> None:
    source = """
def check(number):
    assert number
def twice(number):
    check(number)
def idle(number):
    idle(number)
def test_by_a_helper(): twice(1)
def test_by_pytest():
    with pytest.raises(ValueError): int("a")
def test_by_hand():
    if 1: raise AssertionError("one")
def test_by_torch(): torch.testing.assert_close(1, 1)
def test_merely_runs(): idle(1)
class TestInAClass:
    def test_passes(self): pass
"""
    assert list(without_assertion(source)) == ["test_merely_runs", "test_passes"]
