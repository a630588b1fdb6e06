from pathlib import Path

import pytest
import tomli_w

from operation import extension_point, plugins
from operation.extension_point import ExtensionPoint
from operation.plugins import PlugIn, PlugInError, for_pyproject
from tests.packages import Packages

PLAIN = {"example.py": "ENTRY = 2\n"}


@pytest.fixture
def point() -> ExtensionPoint[int]:
    """Its own entry is ``one``; entries are numbers."""

    def fault(name: str, found: object) -> str:
        return "" if isinstance(found, int) else f"is {found!r} for {name}"

    own = {"one": 1}
    return ExtensionPoint("losses", own, own.__getitem__, fault)


def add(packages: Packages, text: str, place: str = "example:ENTRY", name: str = "two") -> None:
    packages.add({"example.py": text}, {"losses": {name: place}})


def complaint(point: ExtensionPoint[int], name: str = "two") -> str:
    with pytest.raises(PlugInError) as caught:
        point[name]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_packages_entry_stands_behind_the_own_ones(
    point: ExtensionPoint[int], packages: Packages
) -> None:
    assert list(point) == ["one"]
    add(packages, "ENTRY = 2")
    assert list(point) == ["one", "two"]
    assert len(point) == 2
    assert (point["one"], point["two"]) == (1, 2)
    assert "two" in point
    assert "three" not in point
    with pytest.raises(KeyError):
        point["three"]
    assert point.origin("one") is None
    origin = point.origin("two")
    assert origin is not None
    assert origin.owner == "fedskin-example 1.0"


def test_it_is_imported_when_it_is_asked_for_and_not_before(
    point: ExtensionPoint[int], packages: Packages, tmp_path: Path
) -> None:
    trace = tmp_path / "imported"
    add(packages, f"open({str(trace)!r}, 'a').write('x'); ENTRY = 2")
    assert "two" in point
    assert point["one"] == 1
    assert not trace.exists()
    assert point["two"] + point["two"] == 4
    assert trace.read_text() == "x"


@pytest.mark.parametrize(
    "text, place, reason",
    [
        ("raise ValueError('no\\nluck')", "example:ENTRY", "ValueError: no luck"),
        ("import nothing_like_this", "example:ENTRY", "ModuleNotFoundError: No module"),
        ("import sys; sys.exit(3)", "example:ENTRY", "SystemExit: 3"),
        ("def", "example:ENTRY", "SyntaxError: "),
        ("", "example:ENTRY", "AttributeError: module 'example' has no attribute"),
        ("", "elsewhere:ENTRY", "ModuleNotFoundError: No module named 'elsewhere'"),
    ],
)
def test_what_cannot_be_loaded_is_a_line_with_package_and_reason(
    point: ExtensionPoint[int], packages: Packages, text: str, place: str, reason: str
) -> None:
    add(packages, text, place)
    assert point["one"] == 1
    said = complaint(point)
    assert said.startswith(f"loss 'two' of fedskin-example 1.0 cannot be loaded ({reason}")
    assert said.endswith("); repair the package")


def test_an_entry_of_another_type_is_refused(
    point: ExtensionPoint[int], packages: Packages
) -> None:
    add(packages, "ENTRY = 'text'")
    assert complaint(point) == (
        "loss 'two' of fedskin-example 1.0 cannot be used: example:ENTRY is 'text' for two"
    )


def test_a_name_that_is_fedskins_own_is_refused_with_both_owners(
    point: ExtensionPoint[int], packages: Packages
) -> None:
    add(packages, "ENTRY = 2", name="one")
    with pytest.raises(PlugInError) as caught:
        point.origin("one")
    assert str(caught.value) == (
        "loss 'one' is in fedskin itself and in fedskin-example 1.0; uninstall one"
    )
    assert list(point) == ["one"]
    assert point["one"] == 1  # never the package's


def test_a_name_of_two_packages_is_refused_with_both(
    point: ExtensionPoint[int], packages: Packages
) -> None:
    packages.add(PLAIN, {"losses": {"two": "example:ENTRY", "three": "example:ENTRY"}})
    packages.add({}, {"losses": {"two": "example:ENTRY"}}, name="other", version="2.0")
    assert complaint(point) == (
        "loss 'two' is in fedskin-example 1.0 and in other 2.0; uninstall one"
    )
    assert point["three"] == 2


@pytest.fixture
def bundle(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an app from a bundle, which holds ``two`` and lists a ``three`` in vain."""
    folder = packages.folder.with_name("bundle")
    folder.mkdir()
    listed = [
        PlugIn("losses", n, "fedskin-example", "1.0", f"{n}_:ENTRY") for n in ("two", "three")
    ]
    about = {"tool": {"fedskin": for_pyproject(listed)}}
    (folder / "pyproject.toml").write_text(tomli_w.dumps(about))
    (folder / "two_.py").write_text("ENTRY = 2")
    monkeypatch.syspath_prepend(folder)
    for module in (plugins, extension_point):
        monkeypatch.setattr(module, "APP", folder)
    packages.forget()
    return folder


@pytest.mark.usefixtures("bundle")
def test_in_a_bundle_only_its_own_plugins_exist(
    point: ExtensionPoint[int], packages: Packages
) -> None:
    packages.add({"four_.py": "ENTRY = 4"}, {"losses": {"four": "four_:ENTRY"}}, name="other")
    assert list(point) == ["one", "three", "two"]
    assert point["two"] == 2
    with pytest.raises(KeyError):
        point["four"]


@pytest.mark.usefixtures("bundle")
def test_in_a_bundle_no_installed_code_takes_the_place_of_its_own(
    point: ExtensionPoint[int], packages: Packages
) -> None:
    packages.add({"three_.py": "ENTRY = 3"}, {}, name="other")
    said = complaint(point, "three")
    assert said.startswith("loss 'three' of fedskin-example 1.0 is not in the bundle, but ")
    assert said.endswith("site-packages/three_.py")


def test_a_bundle_with_a_damaged_list_has_no_plugin(
    point: ExtensionPoint[int], bundle: Path
) -> None:
    (bundle / "pyproject.toml").write_text("[tool.fedskin]\nplug-ins = 3")
    with pytest.raises(PlugInError, match="its list of plug-ins is damaged"):
        list(point)
