"""From the command line to a config and a run folder: what --resume allows."""

from pathlib import Path

import pytest

from experiments.centralized import train_centralized
from experiments.console import Console
from experiments.run_setup import open_run
from tests.support import make_config
from training.checkpoint import Progress
from training.errors import ConfigError, RunFolderError
from training.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config(rounds=4, seed=3))
    folder.update_manifest(command="simulate", status="failed")
    return folder


def test_resume_takes_the_runs_own_config_and_what_stands_over_it(folder: RunFolder) -> None:
    own = folder.config().replace(run_dir=str(folder.path))
    assert open_run(None, None, folder.path, resume=True, kind="simulate")[0] == own
    longer, found = open_run(None, ["rounds=9"], folder.path, resume=True, kind="simulate")
    assert longer == own.replace(rounds=9)
    assert found.path == folder.path


def test_resume_with_a_config_file_goes_on_from_that(folder: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(make_config(rounds=5, seed=3).to_toml())
    wanted, _ = open_run(file, ["rounds=9"], folder.path, resume=True, kind="simulate")
    assert wanted == folder.config().replace(rounds=9, run_dir=str(folder.path))


@pytest.mark.parametrize(
    "override, kind, error, said",
    [
        ("ronds=9", "simulate", ConfigError, r"ronds = 9: no such key; did you mean rounds\?"),
        ("rounds=0", "simulate", ConfigError, "rounds = 0: allowed is"),
        ("rounds=9", "clip", RunFolderError, "was started by  fedskin simulate"),
    ],
)
def test_what_cannot_go_on_is_said(
    override: str, kind: str, error: type[Exception], said: str, folder: RunFolder
) -> None:
    with pytest.raises(error, match=said):
        open_run(None, [override], folder.path, resume=True, kind=kind)


@pytest.mark.parametrize(
    "optimizer, momentum, said",
    [
        ("adam", 0.0, r"state of its optimizer \(adam\) was removed then.* train 5 epochs in"),
        ("sgd", 0.9, r"state of its optimizer \(sgd\) was removed then"),
        ("sgd", 0.0, "data-dir holds other images"),  # the next thing that is looked at
    ],
)
def test_a_completed_centralized_run_goes_on_only_without_a_state(
    optimizer: str, momentum: float, said: str, synthetic_ham: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    config = make_config(
        optimizer=optimizer,
        momentum=momentum,
        epochs=4,
        data_dir=str(synthetic_ham),
        cache_dir=str(tmp_path / "cache"),
        threads_per_client=1,
    )
    folder.create(config)
    folder.checkpoint.folder.mkdir()
    folder.checkpoint.save(Progress(round=4))
    folder.update_manifest(command="heads", status="completed", data={"fingerprint": "another"})
    longer = config.replace(epochs=5, run_dir=str(folder.path))
    with pytest.raises(RunFolderError, match=said):
        train_centralized(Console(), longer, folder, kind="heads")
