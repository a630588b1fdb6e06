"""Packages with plug-ins in the bundle: what is put in, what cannot be, and what a config needs."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_client.site.approved_bundles import open_bundle
from fl_server.coordinator.bundles import bundle_to_run, check_plugins, find_bundle, write_bundle
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.included import include
from operation.errors import OperationError
from operation.plugins import PlugIn
from tests.packages import METHOD, Packages
from training.config import DEFAULTS, parse
from training.errors import ConfigError

NAME = "fedskin-example"
STEP = PlugIn("strategies", "step-size", NAME, "1.0", "example_step_size:METHOD")
ENTRY = {"strategies": {"step-size": "example.step:METHOD"}}
FILES = {"example/__init__.py": "", "example/step.py": METHOD, "example/deep/er.py": "#"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CoordinatorFolder:
    folder = CoordinatorFolder(tmp_path / "coordinator")
    folder.path.mkdir()
    monkeypatch.setattr(folder, "write_invitation", lambda: None)
    return folder


def test_the_bundle_holds_all_python_files_of_a_package_and_lists_its_entries(
    folder: CoordinatorFolder, packages: Packages
) -> None:
    plain = open_bundle(write_bundle(folder)[0])
    about = {"example/py.typed": "", "example/step.pyi": "", "../../bin/example": "#!"}
    packages.add({**FILES, **about}, ENTRY)
    bundle = open_bundle(write_bundle(folder, [NAME])[0])
    assert bundle.files.keys() - plain.files.keys() == FILES.keys()
    with zipfile.ZipFile(folder.bundle) as archive:
        assert archive.read("example/step.py").decode() == METHOD
    place = "example.step:METHOD"
    assert bundle.plugins == (PlugIn("strategies", "step-size", NAME, "1.0", place),)
    assert plain.plugins == ()
    assert plain.config == DEFAULTS
    assert bundle.config == {**DEFAULTS, "step-size": 1.0}


def test_the_same_package_gives_the_same_bytes_and_its_name_may_be_written_otherwise(
    folder: CoordinatorFolder, packages: Packages
) -> None:
    packages.add(FILES, ENTRY)
    _, sha256 = write_bundle(folder, [NAME])
    assert write_bundle(folder, ["Fedskin_Example", NAME])[1] == sha256
    assert bundle_to_run(folder) == sha256


def test_a_bundle_that_is_replaced_stays_for_the_runs_that_began_with_it(
    folder: CoordinatorFolder, packages: Packages
) -> None:
    _, before = write_bundle(folder)
    content = folder.bundle.read_bytes()
    packages.add_method()
    _, after = write_bundle(folder, [NAME])
    assert after != before
    assert find_bundle(folder, before) == content
    assert find_bundle(folder, after) == folder.bundle.read_bytes()


def test_a_package_that_is_not_there(packages: Packages) -> None:
    packages.add_method()
    with pytest.raises(OperationError) as caught:
        include("fedskin-exampel")
    assert str(caught.value) == (
        "--include fedskin-exampel: no installed package with plug-ins; did you mean "
        "fedskin-example? Known are fedskin-example"
    )
    with pytest.raises(OperationError, match=r"^--include numpy: no installed package"):
        include("numpy")


@pytest.mark.parametrize(
    "file, said",
    [
        ("example/table.json", "example/table.json is not a Python file"),
        ("example/fast.cpython-311-x86_64-linux-gnu.so", "is not a Python file"),
        ("__editable__.example.pth", "is installed in editable form"),
        ("__editable___example_finder.py", "is installed in editable form"),
        ("example/naïve.py", "'example/naïve.py' could be shown as another name"),
        ("example/a b.py", "'example/a b.py' could be shown as another name"),
        ("example/" + 200 * "x" + ".py", "could be shown as another name"),
        ("example/Step.py", "step.py and example/Step.py are one file on some disks"),
        ("training/epoch.py", "training is fedskin's own package"),
        ("Training/epoch.py", "Training is fedskin's own package"),
        ("fedskin/__init__.py", "fedskin is fedskin's own package"),
        ("json.py", "json is a module of Python"),
        ("numpy/__init__.py", "numpy is also in numpy"),
    ],
)
def test_files_that_cannot_be_in_a_bundle(packages: Packages, file: str, said: str) -> None:
    short = file if len(file) < 200 else "example/x.py"
    packages.add({**FILES, short: ""}, ENTRY)
    (record,) = packages.folder.glob("*.dist-info/RECORD")
    record.write_text(record.read_text().replace(short, file))
    with pytest.raises(OperationError, match=r"^--include fedskin-example: ") as caught:
        include(NAME)
    assert said in str(caught.value)


def test_a_file_that_flower_leaves_out_is_named(
    folder: CoordinatorFolder, packages: Packages
) -> None:
    packages.add({**FILES, "example/test_step.py": ""}, ENTRY)
    with pytest.raises(OperationError, match=r"takes no file called example/test_step\.py"):
        write_bundle(folder, [NAME])
    assert not folder.bundle.exists()


def test_an_entry_outside_the_package_is_refused(packages: Packages) -> None:
    packages.add({"example.py": ""}, {"strategies": {"step-size": "os.path:METHOD"}})
    with pytest.raises(
        OperationError, match=r"os\.path:METHOD, its method 'step-size', is not among"
    ):
        include(NAME)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda packages: packages.add_method("import nothing"), "cannot be loaded"),
        (lambda packages: packages.add_method(METHOD.replace("step-size", "seed")), "'seed'"),
        (lambda packages: packages.add_method(name="fedavg"), "is in fedskin itself and in"),
    ],
)
def test_a_package_that_cannot_be_used_is_found_at_the_coordinator(
    packages: Packages, change: Callable[[Packages], None], said: str
) -> None:
    change(packages)
    with pytest.raises((OperationError, ConfigError), match=said) as caught:
        include(NAME)
    assert "fedskin-example 1.0" in str(caught.value)


def test_two_packages_with_one_key_must_agree(
    folder: CoordinatorFolder, packages: Packages
) -> None:
    packages.add_method()
    packages.add_method(METHOD.replace("1.0", "2.0"), name="other", package="other")
    with pytest.raises(OperationError, match="its key 'step-size' has another default in another"):
        write_bundle(folder, [NAME, "other"])


def test_a_config_runs_if_the_bundle_holds_its_plugins(
    folder: CoordinatorFolder, packages: Packages
) -> None:
    packages.add_method()
    config = parse({"strategy": "step-size"})
    check_plugins(folder, parse({}))
    said = (
        "strategy = 'step-size': the bundle does not hold fedskin-example 1.0; write it again with"
        f"  fedskin coordinator bundle {folder.path} --include fedskin-example  and let every site "
        "approve it"
    )
    for write in (lambda: None, lambda: write_bundle(folder)):
        write()
        with pytest.raises(ConfigError) as caught:
            check_plugins(folder, config)
        assert str(caught.value) == said
    write_bundle(folder, [NAME])
    check_plugins(folder, config)
    for path in packages.folder.glob("*.dist-info/METADATA"):
        path.write_text(path.read_text().replace("1.0", "1.1"))
    packages.forget()
    with pytest.raises(ConfigError, match=r"hold fedskin-example 1\.1 but fedskin-example 1\.0;"):
        check_plugins(folder, config)
