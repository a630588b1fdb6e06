"""``import fedskin``: the examples of docs/python.md, and what it refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fedskin
from data_partition.errors import DataError
from data_partition.synthetic_ham10000 import write_ham10000
from tests.support import BACKBONE, make_config
from training.config import parse
from training.errors import ConfigError, RunFolderError
from training.run_folder import RunFolder

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_examples_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ham10000(tmp_path / "skin", 60)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, found)
    run = found["run"]
    assert isinstance(run, fedskin.Run)
    assert list(run.rounds["round"]) == [1, 2]
    # Each figure can be recomputed from the predictions.
    answers = run.predictions()
    classes = run.classes
    assert classes == list(answers.columns[2:])
    right = answers[classes].idxmax(axis=1) == answers["label"]
    assert run.figures["global_test"]["acc"] == pytest.approx(100 * right.mean())
    # The network gives the run's own predictions.
    ours = run.predict("skin/ISIC2018_Task3_Test_Input").set_index("image")[classes]
    theirs = answers.set_index("image_id")[classes]
    ours.index = [Path(name).stem for name in ours.index]
    assert abs(ours.loc[theirs.index].to_numpy() - theirs.to_numpy()).max() < 1e-4
    again = fedskin.simulate(run.config, "runs/first", quiet=True)  # completed: nothing to do
    assert again.figures == run.figures


def test_a_wrong_key_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^image-sise = 32: .* did you mean image-size"):
        fedskin.simulate({"image_sise": 32}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "config, error, said",
    [
        (["rounds=2"], TypeError, "config: is of type list; give keys with their values, a "),
        (None, TypeError, "config: is of type NoneType; give"),
        ("none.toml", ConfigError, "none.toml: cannot be read: No such file or directory"),
        (Path("none.toml"), ConfigError, "none.toml: cannot be read"),
        ({1: 2}, ConfigError, "^1 = 2: no such key"),
    ],
)
def test_what_is_no_config_is_refused(
    config: Any, error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        fedskin.simulate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_and_paths_are_a_config(tmp_path: Path) -> None:
    (tmp_path / "skin.toml").write_text('data-dir = "/skin"\nrounds = 2\n', "utf-8")
    expected = parse({"data-dir": "/skin", "rounds": 2})
    for config in (tmp_path / "skin.toml", str(tmp_path / "skin.toml"), expected):
        assert fedskin._checked(config) == expected
    assert fedskin._checked({"data_dir": Path("/skin"), "rounds": 2}) == expected


def test_other_arguments_of_a_wrong_kind_are_named(tmp_path: Path) -> None:
    out: Any = None
    with pytest.raises(TypeError, match=r"^out: is of type NoneType; give the path of the run fol"):
        fedskin.simulate({}, out)
    with pytest.raises(ConfigError, match=r"^--track wandb: allowed are mlflow and tensorboard$"):
        fedskin.simulate({}, tmp_path / "run", track="wandb")
    with pytest.raises(TypeError, match=r"^path: is of type NoneType; give the path of a run fold"):
        fedskin.load(out)
    RunFolder(tmp_path / "run").create(make_config())
    run = fedskin.load(tmp_path / "run")
    for name in ("client-0", "../x", out):
        said = f"run: has no predictions of {name!r}; it has none"
        with pytest.raises(RunFolderError, match=re.escape(said)):
            run.predictions(name)
    for name in ("left_out", "global_test"):
        (run.path / f"predictions-{name}.csv").touch()
    with pytest.raises(RunFolderError, match="; there are those of global_test, left_out "):
        run.predictions("client-0")
    for images in (None, 3, [3]):
        with pytest.raises(TypeError, match=r"^images: is of type \w+; give the path of an image"):
            run.predict(images)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^images: none is named"):
        run.predict([])
    with pytest.raises(ConfigError, match=r"^head = 'svmm': allowed is knn, svm, rf or None$"):
        run.predict("a.jpg", head="svmm")


def test_a_run_that_is_not_finished_can_be_loaded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config(seed=7))
    folder.update_manifest(status="running")
    run = fedskin.load(tmp_path / "run")
    assert repr(run) == f"<fedskin.Run {str(folder.path)!r}, {BACKBONE}, running>"
    assert run.config == make_config(seed=7)
    assert run.rounds.empty
    with pytest.raises(RunFolderError, match="the run is not completed; finish it"):
        _ = run.figures
    with pytest.raises(RunFolderError, match="has not read its images yet"):
        _ = run.classes
    with pytest.raises(RunFolderError, match="the run is not completed"):
        run.model()


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        fedskin.load(tmp_path)


def test_a_config_is_the_commands() -> None:
    assert type(parse({})) is fedskin.Config


@pytest.mark.parametrize("name", ["training", "experiments", "models"])
def test_another_projects_package_of_the_same_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    line = f"fedskin's package '{name}' is found in {tmp_path / name}, not in {ROOT}"
    imported = subprocess.run(
        [sys.executable, "-c", "import fedskin"],
        **{"env": environment, "cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert imported.stderr.splitlines()[-1].startswith(f"ImportError: {line}")
    script = tmp_path / "fedskin"
    script.write_text("from fedskin.__main__ import main\nmain()\n")
    for how in ([str(script)], ["-m", "fedskin"], ["-Bmfedskin"]):
        command = subprocess.run(
            [sys.executable, *how, "simulate", "--help"],
            **{"env": environment, "cwd": tmp_path, "capture_output": True, "text": True},
        )
        assert command.returncode == 2
        assert command.stderr.startswith(f"Error: {line}")
        assert len(command.stderr.splitlines()) == 1
    # Of another program only its own author can say how it ends.
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__init__.py").write_text("import fedskin\n")
    other = subprocess.run(
        [sys.executable, "-m", "program"],
        **{"env": environment, "cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].startswith(f"ImportError: {line}")


def test_packages_that_do_not_say_how_they_were_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such as one that a program has made by hand: ours is taken, another one is told."""
    made = ModuleType("models")
    monkeypatch.setitem(sys.modules, "models", made)
    with pytest.raises(ImportError, match="'models' is found in a module that has no file, not"):
        fedskin._check_packages(["models"])
    made.__file__ = str(tmp_path / "models" / "__init__.py")
    with pytest.raises(ImportError, match=re.escape(f"is found in {tmp_path / 'models'}, not")):
        fedskin._check_packages(["models"])
    made.__file__ = str(ROOT / "models" / "__init__.py")
    fedskin._check_packages(["models"])
