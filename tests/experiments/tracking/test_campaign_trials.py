"""Sending a ledger to MLflow: every finished trial once, whatever happens in between."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from experiments.campaigns.ledger import BY_CLASS, read_ledger
from experiments.tracking.campaign_trials import check_tracker, track
from experiments.tracking.mlflow_runs import _WAITS, TRIAL_TAG
from experiments.tracking.tracker import TrackingError
from tests.generated_campaign import write_campaign
from tests.runs import read_json
from training.errors import ConfigError, RunFolderError
from training.run_folder import RunFolder
from training.scores import SCORES

# Slow, since make test does not install MLflow.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("mlflow") is None, reason="MLflow is not installed: pip install -e '.[mlflow]'"
    ),
]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, _own_environment: None) -> Path:
    """All 17 trials of one backbone, of two rounds or epochs, sent once to its own mlflow.db."""
    folder = tmp_path_factory.mktemp("campaign")
    write_campaign(folder, rounds=2, backbones=["swin_t"])
    assert send(folder) == 17
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of four trials, of two epochs each; not sent."""
    folder = tmp_path_factory.mktemp("few")
    write_campaign(folder, trials=4, rounds=2, backbones=["swin_t"])
    return folder


@pytest.fixture(scope="module")
def without_runs(campaign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose runs were deleted: making the tables takes MLflow seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "store.db"
    shutil.copy(campaign / "mlflow.db", path)
    client = MlflowClient(tracking_uri=f"sqlite:///{path}")
    for run in runs_at(f"sqlite:///{path}"):
        client.delete_run(run.info.run_id)
    return path


@pytest.fixture
def empty(without_runs: Path, tmp_path: Path) -> str:
    """A store without runs."""
    return f"sqlite:///{shutil.copy(without_runs, tmp_path)}"


def send(folder: Path, uri: str | None = None) -> int:
    with pytest.MonkeyPatch.context() as patch:
        if uri is not None:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
        return track(read_ledger(folder), folder, "mlflow")


def runs_at(uri: str) -> list[Any]:
    """The server's runs of the campaign, those that were deleted left out."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("generated")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def run_of(folder: Path, command: str) -> tuple[Any, Path]:
    """One trial's MLflow run and its run folder."""
    runs = runs_at(f"sqlite:///{folder}/mlflow.db")
    run = next(run for run in runs if run.info.run_name.startswith(command))
    return run, folder / "trials" / run.info.run_name


def curve(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def test_a_run_for_each_trial(campaign: Path) -> None:
    runs = runs_at(f"sqlite:///{campaign}/mlflow.db")
    ids = sorted(path.name for path in (campaign / "trials").iterdir())
    assert sorted(run.info.run_name for run in runs) == ids
    assert sorted(run.data.tags[TRIAL_TAG] for run in runs) == ids
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["fedskin.images"] for run in runs} == {"SYNTHETIC"}
    assert {run.data.tags["fedskin.complete"] for run in runs} == {"yes"}


def test_sending_again_sends_nothing(campaign: Path) -> None:
    assert send(campaign) == 0
    assert len(runs_at(f"sqlite:///{campaign}/mlflow.db")) == 17


def test_parameters_are_the_config(campaign: Path) -> None:
    run, path = run_of(campaign, "simulate")
    flat = RunFolder(path).config().to_flat()
    assert run.data.params == {key: str(value) for key, value in flat.items()}


@pytest.mark.parametrize("command", ["simulate", "clip", "heads"])
def test_figures_are_those_of_the_ledger(campaign: Path, command: str) -> None:
    run, path = run_of(campaign, command)
    table = read_ledger(campaign).table
    expected = {}
    for _, row in table[table["trial"] == path.name].iterrows():
        unit = ".patient" if row["unit"] == "patient" else ""
        classes = ("mel", "nv") if row["config.dataset"] == "ham10000" else ("HGG", "LGG")
        assert {f"recall.{label}" for label in classes} <= {*row.dropna().index}
        kinds = ("recall", *BY_CLASS)
        by_class = [name for name in row.dropna().index if name.split(".")[0] in kinds]
        for name in (*SCORES, *by_class):
            expected[f"{row['test_set']}.{row['model']}.{name}{unit}"] = row[name]
    tested = {name.rpartition(".")[0] for name in expected}
    found = {n: v for n, v in run.data.metrics.items() if n.rpartition(".")[0] in tested}
    assert found == expected


def test_curves_have_a_point_for_each_round(campaign: Path) -> None:
    """A generated round takes 51 s."""
    run, path = run_of(campaign, "simulate")
    uri, records = f"sqlite:///{campaign}/mlflow.db", RunFolder(path).rounds()
    assert curve(uri, run, "seconds") == [(1, 51.0), (2, 51.0)]
    for name in ("train_loss", "bytes_sent", "bytes_received"):
        assert curve(uri, run, name) == [(r["round"], r[name]) for r in records]
    for name in SCORES:
        expected = [(r["round"], r["validation"]["pooled"][name]) for r in records]
        assert curve(uri, run, f"validation.{name}") == expected
        expected = [(r["round"], r["validation"]["clients"]["client-1"][name]) for r in records]
        assert curve(uri, run, f"validation.client-1.{name}") == expected


def test_what_the_whole_trial_took(campaign: Path) -> None:
    """What moves no bytes has no figure of them."""
    run, path = run_of(campaign, "clip")
    assert run.data.metrics["total.seconds"] == 2 * 42.5
    memory = read_json(path / "manifest.json")["trial"]["peak_memory"]
    assert run.data.metrics["peak_memory"] == memory
    assert not [name for name in run.data.metrics if "bytes" in name]


class Killed(BaseException):
    """What a kill looks like from inside: no handler of ours sees it."""


@pytest.mark.parametrize(
    "method, call", [("log_batch", 10), ("log_batch", 12), ("set_terminated", 3)]
)
def test_a_kill_in_the_middle_doubles_nothing(
    few: Path, empty: str, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    """Within the third trial: two have arrived, and the next call completes the third.

    Of each trial there are four batches: the parameters, two epochs, the final figures.
    """
    from mlflow.tracking import MlflowClient

    calls = iter(range(1, 100))
    real = getattr(MlflowClient, method)

    def killed(*arguments: Any, **options: Any) -> None:
        if next(calls) == call:
            raise Killed
        real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, killed)
        with pytest.raises(Killed):
            send(few, empty)
    assert sorted(run.info.status for run in runs_at(empty)) == ["FINISHED", "FINISHED", "RUNNING"]
    assert send(few, empty) == 2
    runs = runs_at(empty)
    assert len({run.info.run_name for run in runs}) == len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_store_that_is_full_is_one_line(
    few: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has arrived stays, and the line says that nothing is lost."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("database or disk is full\n[SQL: INSERT …]")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", refuse)
        with pytest.raises(TrackingError) as caught:
            send(few, empty)
    assert str(caught.value) == (
        f"{empty}: does not accept the results (database or disk is full); the results are all in "
        f"{few}, and the next --track mlflow sends what is missing"
    )
    assert send(few, empty) == 4


@pytest.fixture
def odd(campaign: Path, tmp_path: Path) -> Path:
    """A campaign with one federated trial, to be changed."""
    [first, *_] = (campaign / "trials").glob("simulate-*")
    shutil.copytree(first, tmp_path / "odd" / "trials" / first.name)
    shutil.copy(campaign / "plan.json", tmp_path / "odd")
    return tmp_path / "odd"


def test_what_mlflow_would_not_take_is_made_to_fit(odd: Path, empty: str) -> None:
    """A parameter of more than 6000 letters, and a site whose name a metric must not have."""
    [trial] = (odd / "trials").iterdir()
    text = (trial / "config.toml").read_text(encoding="utf-8")
    long = text.replace('"/data/ham10000"', f'"/{"d" * 7000}"')
    (trial / "config.toml").write_text(long, encoding="utf-8")
    figures = (trial / "metrics.json").read_text(encoding="utf-8")
    (trial / "metrics.json").write_text(figures.replace("client-1", "Süd/../ward #1"), "utf-8")
    assert send(odd, empty) == 1
    [run] = runs_at(empty)
    assert run.data.params["data-dir"] == "/" + "d" * 5999
    assert "Süd_.._ward _1.network.acc" in run.data.metrics


def test_long_curves_go_in_parts(tmp_path: Path, empty: str) -> None:
    """120 epochs of 10 figures are more than the 1000 that MLflow takes at a time."""
    write_campaign(tmp_path / "long", trials=1, rounds=120, backbones=["swin_t"])
    assert send(tmp_path / "long", empty) == 1
    [run] = runs_at(empty)
    assert [step for step, _ in curve(empty, run, "validation.f1")] == list(range(1, 121))


def test_the_environment_names_the_server(
    odd: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty)
    assert send(odd) == 1
    assert len(runs_at(empty)) == 1
    assert not (odd / "mlflow.db").exists()


def test_nobody_learns_the_password(odd: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        send(odd, "nonsense://me:secret@server/")
    assert "nonsense://server/: does not accept the results" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_without_mlflow_the_remedy_is_named(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(ConfigError, match=r"not installed; .*-e '\.\[mlflow\]'$"):
        send(odd)


def test_a_server_that_is_not_there_is_named_before_anything_is_trained(
    campaign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something listens and never answers, for which nobody waits a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setitem(_WAITS, "MLFLOW_HTTP_REQUEST_TIMEOUT", ("1", "20"))
        with pytest.raises(ConfigError) as caught:
            check_tracker(campaign, "mlflow")
    assert str(caught.value) == (
        f"--track mlflow: {uri}: does not answer; nothing was trained: start that server, set "
        "MLFLOW_TRACKING_URI to another, or leave out --track"
    )
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"


def test_what_is_no_campaign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no campaign"):
        send(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


@pytest.fixture
def server(campaign: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real MLflow server on a free port, with an experiment but no runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(campaign / "mlflow.db", tmp_path / "server.db")
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # or it starts others
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}", process
    finally:
        _end(process)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_goes_away_loses_nothing(
    odd: Path, server: tuple[str, subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    """The copied store has the trial already, so it is renamed to be a new one."""
    uri, process = server
    [trial] = (odd / "trials").iterdir()
    trial.rename(trial.with_name("simulate-swin_t-0123456789ab"))
    assert send(odd, uri) == 1
    assert send(odd, uri) == 0
    assert len(runs_at(uri)) == 18
    _end(process)
    with pytest.raises(TrackingError) as caught:
        send(odd, uri)
    assert str(caught.value) == (
        f"{uri}: does not answer; the results are all in {odd}, and the next --track mlflow sends "
        "what is missing"
    )
    assert capfd.readouterr() == ("", "")
