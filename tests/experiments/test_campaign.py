"""``fedskin campaign``: what is refused, what is left alone, and real campaigns in small."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
import pytest

from data_partition.datasets import dataset_choice
from data_partition.synthetic_brats2019 import write_brats2019
from data_partition.synthetic_ham10000 import write_ham10000
from experiments.campaign import plan, run, status
from experiments.campaigns import forecast
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.ledger import read_ledger
from experiments.planning.estimate import SMALL_RUN
from experiments.planning.step_times import Setting, StepTime, setting
from operation.processes import processes_of
from tests.generated_campaign import write_campaign
from tests.runs import FEDSKIN, begin, fedskin, read_json, wait_until
from training.config import ExperimentConfig
from training.errors import ConfigError, RunFolderError

CLIP = """
name = "clips"
seeds = [0, 1]

[base]
dataset = "ham10000"
pretrained = false
image-size = 32
batch-size = 8
backbone = "resnet18"
text-encoder = "ViT-B/32"
device = "cpu"

[[part]]
command = "clip"
base = {epochs = 1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clips.toml"
    path.write_text(CLIP, encoding="utf-8")
    return path


def options(data: Path, folder: Path) -> list[str]:
    return ["--data", f"ham10000={data}", "-c", f"cache-dir={folder / 'cache'}"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            {"data": ["ham=/data"]},
            f"--data ham=/data: write it as NAME=DIR; NAME is {dataset_choice()}",
        ),
        ({"only": ["swin_*"]}, r"--only swin_\*: write it as KEY=PATTERN"),
        ({"only": ["bakbone=swin_*"]}, "no such key; did you mean backbone?"),
        ({"override": ["bakbone=swin_b"]}, "-c: bakbone: no such key; did you mean backbone?"),
        ({}, "data-dir = '': name the folder of the images"),
        ({"data": ["ham10000=/nowhere"]}, "/nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    arguments: dict, said: str, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(file, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [plan, partial(run, out=Path("/nowhere"))])
def test_a_pattern_that_no_trial_matches_is_refused_before_the_images_are_looked_for(
    command: Callable[..., None], file: Path
) -> None:
    with pytest.raises(ConfigError, match="no trial of clips matches; known are resnet18"):
        command(file, data=["ham10000=/nowhere"], only=["backbone=swin_*"])


def test_a_plan_lists_what_only_asks_for_and_says_what_else_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is measured: a step of any network takes a second."""

    def measure(configs: Iterable[ExperimentConfig], *_: object) -> dict[Setting, StepTime]:
        return {
            setting(config): StepTime(1.0, 0.0, 0.0, 0.0, 0, 1, SMALL_RUN) for config in configs
        }

    monkeypatch.setattr(forecast, "measure_steps", measure)
    task2 = Path("task2-federated.toml")
    plan(task2)
    said = capsys.readouterr().out
    assert "task2-federated: 120 trials" in said
    assert "120 trials more with --only client-optimizer=persistent" in said
    plan(task2, only=["client-optimizer=persistent", "backbone=swin_t"])
    said = capsys.readouterr().out
    assert "task2-federated: 10 trials" in said
    assert "more with" not in said


def test_a_folder_of_another_campaign_or_one_at_work_is_refused(file: Path, tmp_path: Path) -> None:
    other = CampaignFolder(tmp_path / "other")
    other.write_plan("other", [])
    with pytest.raises(RunFolderError, match="belongs to campaign 'other', not 'clips'"):
        run(file, other.path)
    busy = CampaignFolder(tmp_path / "busy")
    with busy.lock(), pytest.raises(RunFolderError, match="another fedskin campaign run"):
        run(file, busy.path)


@pytest.mark.parametrize(
    "tracker, module",
    [("mlflow", "mlflow.tracking"), ("tensorboard", "tensorboard.compat.proto.event_pb2")],
)
def test_a_tracker_that_is_missing_is_named_before_a_trial_starts(
    tracker: str,
    module: str,
    file: Path,
    synthetic_ham: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    data = [f"ham10000={synthetic_ham}"]
    with pytest.raises(ConfigError, match=f"--track {tracker}: .* is not installed; in the"):
        run(file, tmp_path / "out", data=data, track=tracker)
    assert not (tmp_path / "out" / "trials").exists()


def test_what_blocks_a_plan_is_said_before_it_is_measured_and_after(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(forecast, "forecast", measured)
    with pytest.raises(KeyboardInterrupt):
        plan(file)
    assert "Missing: " in capsys.readouterr().out


def test_the_program_says_it_in_a_line_and_exits_with_2(file: Path, tmp_path: Path) -> None:
    result = fedskin("campaign", "run", file, "--out", tmp_path / "out", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "fedskin: data-dir = '': name the folder of the images\n"


def test_status_of_a_folder_without_a_campaign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no campaign"):
        status(tmp_path)


def test_status_of_a_generated_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_campaign(tmp_path / "campaign", trials=9, rounds=2)
    status(tmp_path / "campaign")
    assert "9 of 9 done" in capsys.readouterr().out


@pytest.mark.slow
def test_a_campaign_runs_and_then_has_nothing_to_do(
    file: Path, synthetic_ham: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["campaign", "run", file, "--out", out, *options(synthetic_ham, tmp_path)]
    first = fedskin(*command, "--only", "seed=1", "--track", "mlflow", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "1 of 2 done" in first.stdout
    (done,) = (out / "trials").iterdir()
    weights = read_json(done / "metrics.json")["weights_sha256"]
    before = (done / "metrics.json").stat().st_mtime_ns

    # The other, whose place a folder from elsewhere has taken: nothing of it is lost.
    planned = [trial["id"] for trial in read_json(out / "plan.json")["trials"]]
    (missing,) = set(planned) - {done.name}
    shutil.copytree(done, out / "trials" / missing)
    (out / "trials" / missing / "manifest.json").write_text("{", encoding="utf-8")
    second = fedskin(*command, cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "2 of 2 done" in second.stdout
    assert (out / "set-aside" / f"{missing}-1" / "metrics.json").is_file()
    assert (done / "metrics.json").stat().st_mtime_ns == before
    table = read_ledger(out).table
    assert set(table["trial"]) == set(planned)
    assert weights in set(table["weights_sha256"])
    assert table["weights_sha256"].nunique() == 2, "another seed, other weights"
    assert (table["peak_memory"] > 1e8).all()
    assert (out / "ledger.csv").is_file()
    assert (out / "mlflow.db").is_file()

    third = fedskin(*command, cwd=tmp_path)
    assert (third.returncode, third.stderr) == (0, "")
    assert "done   " not in third.stdout, "nothing ended, since nothing was started"


@pytest.mark.slow
def test_the_small_campaign_of_all_three_tasks_runs_and_is_reported(tmp_path: Path) -> None:
    """A third of what ``make smoke`` runs: one of its three backbones, and the adapter."""
    write_ham10000(tmp_path / "runs" / "smoke-data" / "ham10000", images=60, seed=0)
    write_brats2019(tmp_path / "runs" / "smoke-data" / "brats2019", patients=24, seed=0)
    command = ["campaign", "run", "smoke.toml", "--out", "out", "--only", "backbone=resnet18"]
    result = fedskin(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 of 16 done" in result.stdout
    table = read_ledger(tmp_path / "out").table
    assert set(table["command"]) == {"clip", "simulate", "heads"}
    assert set(table["model"]) == {"network", "knn", "svm"}
    assert table["synthetic"].all()
    again = fedskin(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert "done   " not in again.stdout, "no trial of any command or data set is done twice"
    assert not (tmp_path / "out" / "set-aside").exists()
    report = fedskin("report", "out", cwd=tmp_path)
    assert report.returncode == 0, report.stdout + report.stderr
    assert "SYNTHETIC" in (tmp_path / "out" / "report" / "index.html").read_text("utf-8")
    (travelled,) = (tmp_path / "out" / "report").glob("tables/*fedavg*-communication.csv")
    whole, adapter = pd.read_csv(travelled).itertuples()
    assert (whole.trainable, adapter.trainable) == ("all", "adapter")
    # 44.7 MB of resnet18's weights go up, and an eight-bit update of an adapter's 0.148.
    assert whole.bytes_from_client == pytest.approx(44.7e6, rel=0.01)
    assert adapter.bytes_from_client == pytest.approx(0.27 * 0.148e6, rel=0.05)


@pytest.mark.slow
def test_what_fails_is_recorded_and_the_others_go_on(
    file: Path, synthetic_ham: Path, tmp_path: Path
) -> None:
    # Training at such a rate ends in NaN.
    text = CLIP.replace("seeds = [0, 1]", "seeds = [0]") + "grid = {learning-rate = [1e30, 1e-3]}\n"
    file.write_text(text.replace("[base]", '[base]\noptimizer = "sgd"'), encoding="utf-8")
    out = tmp_path / "out"
    command = ["campaign", "run", file, "--out", out, *options(synthetic_ham, tmp_path)]
    first = fedskin(*command, cwd=tmp_path)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "1 of 2 done" in first.stdout
    assert "1 failed" in first.stdout
    assert "--retry-failed" in first.stdout
    folder = CampaignFolder(out)
    planned = folder.plan()[1]
    (failed,) = [s for s in folder.states(planned, at_work=False).values() if s.state == "failed"]
    assert failed.attempt["number"] == 2, "it was tried once more"
    assert "loss" in failed.cause.lower(), failed.cause

    again = fedskin(*command, cwd=tmp_path)
    assert again.returncode == 1
    (failed,) = [s for s in folder.states(planned, at_work=False).values() if s.state == "failed"]
    assert failed.attempt["number"] == 2, "a failure is not repeated unasked"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_campaign_ends_its_trials(
    number: signal.Signals, file: Path, synthetic_ham: Path, tmp_path: Path
) -> None:
    file.write_text(CLIP.replace("epochs = 1", "epochs = 1000"), encoding="utf-8")
    out, output = CampaignFolder(tmp_path / "out"), tmp_path / "output"
    words = ["campaign", "run", file, "--out", out.path, *options(synthetic_ham, tmp_path)]
    process = begin(*words, cwd=tmp_path, output=output)
    try:
        deadline = time.monotonic() + 300  # on a machine that does other work besides
        while not list(out.path.glob("trials/*/checkpoint/state.json")):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(process.pid, number)
        assert process.wait(60) == 130, output.read_text()
    finally:
        process.kill()
    assert "Run the same command again to continue" in output.read_text()
    tokens = [out.attempt(trial.id).get("token") for trial in out.plan()[1]]
    assert 1 <= sum(map(bool, tokens)) <= 2
    # They are ended with it, and take a moment to give back their memory.
    wait_until(lambda: not any(processes_of(token) for token in tokens if token))
    assert not out.is_locked()


@pytest.mark.slow
def test_a_full_disk_costs_no_finished_trial(
    file: Path, synthetic_ham: Path, tmp_path: Path
) -> None:
    """120 MB hold a trial (45 MB of weights, and as many of Adagrad while it runs), but not two."""
    try_it = ["unshare", "-rm", "true"]
    if shutil.which("unshare") is None or subprocess.run(try_it, capture_output=True).returncode:
        pytest.skip("a small file system needs a mount namespace, which is not permitted here")
    # One after the other, so that the first finds room.
    file.write_text(f"cpus-per-trial = {joblib.cpu_count()}\n{CLIP}", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    words = [FEDSKIN, "campaign", "run", file, "--out", out, *options(synthetic_ham, tmp_path)]
    command = " ".join(f"'{word}'" for word in words)
    script = f"""
        mount -t tmpfs -o size=120m none '{out}'
        {command}; echo "status $?"
        sha256sum '{out}/trials'/*/metrics.json
        mount -o remount,size=1g '{out}'
        {command} --retry-failed; echo "status $?"
        sha256sum '{out}/trials'/*/metrics.json
    """
    result = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, timeout=280
    )
    said = result.stdout
    assert "No space left on device" in said + result.stderr, said + result.stderr
    statuses = [line for line in said.splitlines() if line.startswith("status")]
    assert statuses[0] in ("status 1", "status 2")
    assert statuses[1] == "status 0", said + result.stderr
    finished = [line for line in said.splitlines() if line.endswith("metrics.json")]
    assert len(finished) == 3, "one at first, then both"
    assert finished[0] in finished[1:], "the first is as it was"
