"""A single run in MLflow: one MLflow run, whatever happens in between."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from experiments.console import Console
from experiments.tracking.follower import tracked, tracker_of_run
from experiments.tracking.mlflow_runs import RUN_TAG
from tests.generated_campaign import write_campaign
from tests.runs import fedskin, read_json, tiny_options
from tests.support import write_rounds
from training.errors import ConfigError
from training.run_folder import RunFolder
from training.run_state import INTERRUPTED, RunState

# Slow, since make test does not install MLflow.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("mlflow") is None, reason="MLflow is not installed: pip install -e '.[mlflow]'"
    ),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, in which the store is made once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Iterator[RunFolder]:
    """A completed federated run of three rounds."""
    ids = write_campaign(tmp_path, trials=7, rounds=3, backbones=["swin_t"])
    yield RunFolder(Path(shutil.move(tmp_path / "trials" / ids[-1], runs / "run")))
    shutil.rmtree(runs / "run")


def follow(run: RunFolder) -> None:
    with tracked(tracker_of_run("mlflow", run.path), run, Console(quiet=True)):
        pass


def in_mlflow(run: RunFolder) -> Any:
    """The one MLflow run of a run folder."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run.path.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("fedskin")
    mine = read_json(run.path / "tracking.json")["mlflow"]
    found = client.search_runs([experiment.experiment_id], f"tags.`{RUN_TAG}` = '{mine}'")
    assert len(found) == 1
    return found[0]


def steps(run: RunFolder, name: str) -> list[int]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run.path.parent}/mlflow.db")
    return [point.step for point in client.get_metric_history(in_mlflow(run).info.run_id, name)]


def test_an_interrupted_run_is_continued(run: RunFolder, tmp_path: Path) -> None:
    """Interrupted after a round, then resumed for a round more than was planned at first."""
    done = tmp_path / "done"
    shutil.copytree(run.path, done)
    text = (run.path / "config.toml").read_text(encoding="utf-8")
    fewer = text.replace("\nrounds = 3\n", "\nrounds = 2\n")
    assert fewer != text
    (run.path / "config.toml").write_text(fewer, encoding="utf-8")
    write_rounds(run, run.rounds()[:1])
    run.update_manifest(status=RunState.FAILED, cause=INTERRUPTED)
    follow(run)
    found = in_mlflow(run)
    assert (found.info.status, found.info.run_name) == ("KILLED", "run")
    assert found.data.tags["fedskin.cause"] == INTERRUPTED
    assert found.data.tags["fedskin.images"] == "SYNTHETIC"
    assert found.data.params == {k: str(v) for k, v in run.config().to_flat().items()}
    assert steps(run, "validation.client-2.kappa") == [1]

    for name in ("config.toml", "manifest.json", "rounds.jsonl"):
        shutil.copy(done / name, run.path)
    follow(run)
    found = in_mlflow(run)
    assert found.info.status == "FINISHED"
    assert found.data.tags["fedskin.complete"] == "yes"
    assert "fedskin.cause" not in found.data.tags, "it was interrupted, and is not any more"
    assert steps(run, "validation.client-2.kappa") == [1, 2, 3]
    assert steps(run, "train_loss.client-0") == [1, 2, 3]
    assert found.data.params["rounds"] == "2", "MLflow lets nobody change a parameter"
    assert found.data.tags["config.rounds"] == "3"
    bacc = run.metrics()["global_test"]["bacc"]
    assert found.data.metrics["global_test.network.bacc"] == bacc

    follow(run)
    assert steps(run, "seconds") == [1, 2, 3]
    assert len(steps(run, "global_test.network.bacc")) == 1

    run.update_manifest(status=RunState.FAILED, cause="a client died")  # resumed for more rounds
    follow(run)
    found = in_mlflow(run)
    assert (found.info.status, found.data.tags["fedskin.cause"]) == ("FAILED", "a client died")
    assert "fedskin.complete" not in found.data.tags


def test_a_run_that_goes_on_elsewhere_stays_running(run: RunFolder) -> None:
    run.update_manifest(status=RunState.RUNNING, command="run")
    follow(run)
    assert in_mlflow(run).info.status == "RUNNING"


def test_a_tracker_that_cannot_be_used_is_named_before_anything_is_written(
    synthetic_ham: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at port 9; the path of a data folder is no place for a database."""
    options = tiny_options(synthetic_ham, tmp_path / "cache")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9"}
    command = ["simulate", *options, "--out", "run", "--track", "mlflow"]
    result = fedskin(*command, cwd=tmp_path, env=environment)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(
        "fedskin: --track mlflow: http://127.0.0.1:9: does not answer; nothing was trained: start"
    )
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(ConfigError, match=r"not installed; .*-e '\.\[mlflow\]'$"):
        tracker_of_run("mlflow", tmp_path / "run")


@pytest.mark.parametrize(
    "uri, said",
    [
        ("sqlite:////proc/x.db", r"does not accept .* \(unable to open database file\); nothing"),
        ("postgresql://me:secret@h/db", "postgresql://h/db: needs the Python package psycopg"),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match=said):
        tracker_of_run("mlflow", tmp_path / "run")


def test_the_database_beside_the_first_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker_of_run("mlflow", tmp_path / "runs" / "first")
    assert (tmp_path / "runs" / "mlflow.db").is_file()
