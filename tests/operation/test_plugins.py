import pytest

from operation import plugins
from operation.plugins import PlugIn, for_pyproject, from_pyproject, installed
from tests.packages import Packages

STEP = PlugIn("strategies", "step-size", "fedskin-example", "1.0", "example_step_size:METHOD")


def test_packages_say_what_they_have_without_being_imported(packages: Packages) -> None:
    packages.add_method("raise RuntimeError")
    assert installed() == (STEP,)
    assert STEP.owner == "fedskin-example 1.0"
    assert STEP.what == "method 'step-size'"


def test_other_groups_are_none_of_ours(packages: Packages) -> None:
    packages.add({}, {"colours": {"red": "example:RED"}})
    assert installed() == ()


def test_of_two_installations_that_one_counts_which_python_imports(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.add_method()
    first = Packages(packages.folder.with_name("first"))
    monkeypatch.syspath_prepend(first.folder)
    first.add_method(version="2.0")
    assert [plugin.version for plugin in installed()] == ["2.0"]


def test_a_bundle_lists_its_plugins_in_its_pyproject() -> None:
    about = {"tool": {"fedskin": for_pyproject([STEP])}}
    assert from_pyproject(about) == (STEP,)
    assert from_pyproject({"tool": {"fedskin": for_pyproject([])}}) == ()
    assert from_pyproject({"tool": {"flwr": {}}}) is None
    assert from_pyproject({}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"group": "heads"},
        {"name": ""},
        {"name": "step size"},
        {"name": "\x1b[2J"},
        {"name": "x" * 101},
        {"package": "../evil"},
        {"version": "1.0\n2.0"},
        {"place": "os:system()"},
        {"place": "../evil:METHOD"},
        {"place": "evil..evil:METHOD"},
        {"place": ""},
        {"place": 1},
        {"more": "keys"},
    ],
    ids=str,
)
def test_a_list_of_other_things_is_refused(changes: dict[str, object]) -> None:
    (listed,) = for_pyproject([STEP])["plug-ins"]
    with pytest.raises(ValueError):
        from_pyproject({"tool": {"fedskin": {"plug-ins": [listed | changes]}}})


@pytest.mark.parametrize("ours", [1, {}, {"plug-ins": {}}, {"plug-ins": [1]}, {"plug-ins": [{}]}])
def test_a_list_of_another_form_is_refused(ours: object) -> None:
    with pytest.raises(ValueError):
        from_pyproject({"tool": {"fedskin": ours}})


def test_outside_a_bundle_nothing_is_listed() -> None:
    """The checkout's pyproject.toml has no list: here the installed ones count."""
    assert plugins.bundled() is None
