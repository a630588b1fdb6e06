"""A trial's process: separate, watched, and ended even if its watcher dies."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments.campaigns import attempt as module
from experiments.campaigns.attempt import AttemptTask, StallDetector, attempt, memory_of
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.trial import Trial
from operation.processes import processes_of
from tests.runs import tiny_config
from training.gpu_memory import GpuMemory
from training.run_folder import RunFolder

CLIP = "clip-resnet18-0123456789ab"


def task(
    campaign: CampaignFolder, *, hang_seconds: float = 600.0, alone: bool = False
) -> AttemptTask:
    return AttemptTask(campaign.path, CLIP, "clip", "", 1, "this", hang_seconds, alone)


@pytest.fixture
def campaign(tmp_path: Path, synthetic_ham: Path) -> CampaignFolder:
    """A campaign with one trial, which trains so long that it can be disturbed."""
    folder = CampaignFolder(tmp_path / "campaign")
    config = tiny_config(synthetic_ham, tmp_path / "cache", objective="clip", epochs=3)
    folder.write_config(CLIP, Trial("clip", config, {}))
    return folder


def test_bad_input_fails_for_good_and_its_line_is_the_cause(
    tmp_path: Path, campaign: CampaignFolder
) -> None:
    config = tiny_config(tmp_path / "nothing", tmp_path / "cache", objective="clip")
    campaign.write_config(CLIP, Trial("clip", config, {}))
    cause = attempt(task(campaign))
    assert cause.startswith("exit status 2: fedskin: ")
    assert "nothing" in cause
    record = campaign.attempt(CLIP)
    assert (record["outcome"], record["cause"], record["number"]) == ("failed", cause, 1)
    assert processes_of(record["token"]) == []


def test_nothing_of_the_campaigns_ray_reaches_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_JOB_ID", "01000000")
    found = module._environment("token", tmp_path, cpus=2)
    assert not [key for key in found if key.startswith("RAY_")]
    assert found["LOKY_MAX_CPU_COUNT"] == found["OMP_NUM_THREADS"] == "2"


def test_progress_is_any_change_whatever_the_clock_says(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    (folder / "checkpoint").mkdir(parents=True)
    state = folder / "checkpoint" / "state.json"
    state.write_text("1")
    progress = StallDetector(folder, log)
    time.sleep(0.05)
    assert progress.still_seconds() >= 0.05
    os.utime(state, (0, 0))  # the clock was set back to 1970
    assert progress.still_seconds() < 0.05
    time.sleep(0.05)
    (folder / "flower.log").write_text("still here")
    assert progress.still_seconds() >= 0.05, "what Flower says is no progress"
    log.write_text("epoch 1")
    assert progress.still_seconds() < 0.05


def test_a_folder_that_is_removed_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished trial removes the state of its optimizer while it is watched."""
    folder = tmp_path / "run"
    (folder / "optimizer" / "epoch-1").mkdir(parents=True)
    (folder / "optimizer" / "epoch-1" / "state").write_text("1")
    (folder / "state.json").write_text("1")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("optimizer"):  # between its folder's listing and its own
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    StallDetector(folder, tmp_path / "log")
    assert not (folder / "optimizer").exists()


def test_memory_is_that_of_the_whole_family() -> None:
    block = "bytearray(b'x') * 50_000_000"
    child = f"import time; kept = {block}; print('ready', flush=True); time.sleep(60)"
    parent = (
        f"import subprocess, sys; kept = {block}; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert 100e6 < memory_of(process.pid) < 200e6
    finally:
        for member in psutil.Process(process.pid).children(recursive=True):
            member.kill()
        process.kill()
        process.wait()
    assert memory_of(process.pid) == 0, "a process that is gone needs none"


def test_a_trial_whose_watcher_died_twice_is_not_begun_again(campaign: CampaignFolder) -> None:
    """Ray restarts a task when its process was killed, repeatedly if memory runs out."""
    campaign.write_attempt(CLIP, {"run": "this", "number": 2, "outcome": "running"})
    assert attempt(task(campaign)) == "the process that watched it was killed"
    assert campaign.attempt(CLIP)["outcome"] == "failed"
    assert not campaign.run_folder(CLIP).path.exists()


def in_the_middle(
    campaign: CampaignFolder, act: Callable[[psutil.Process], None], *, times: int = 1
) -> None:
    """Do something to the trial's process once it has finished one epoch, and then another."""

    def wait() -> None:
        folder = RunFolder(campaign.path / "trials" / CLIP)
        for epoch in range(1, times + 1):
            while folder.checkpoint.progress().round < epoch:
                time.sleep(0.02)
            for process in processes_of(campaign.attempt(CLIP)["token"]):
                if process.cmdline()[0] == "experiments.cli:main":
                    act(process)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.slow
def test_a_killed_trial_is_tried_once_more_and_goes_on(
    campaign: CampaignFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "noted_gpu_memory", lambda folder: GpuMemory(2, 5))
    undisturbed = CampaignFolder(tmp_path / "undisturbed")
    shutil.copytree(campaign.path / "configs", undisturbed.path / "configs")
    assert attempt(task(undisturbed, alone=True)) == ""
    about = undisturbed.run_folder(CLIP).manifest()["trial"]
    assert about["gpu_memory"] == {"used": 2, "total": 5}

    in_the_middle(campaign, lambda process: process.kill())
    assert attempt(task(campaign, alone=True)) == ""
    assert campaign.attempt(CLIP)["number"] == 2
    folder = campaign.run_folder(CLIP)
    expected = undisturbed.run_folder(CLIP).metrics()["weights_sha256"]
    assert folder.metrics()["weights_sha256"] == expected
    assert folder.manifest()["trial"]["peak_memory"] > 100e6
    assert "gpu_memory" not in folder.manifest()["trial"], "what was left may need less"


@pytest.mark.slow
def test_a_trial_that_hangs_is_ended_and_tried_once_more(campaign: CampaignFolder) -> None:
    in_the_middle(campaign, lambda process: process.send_signal(signal.SIGSTOP), times=2)
    # Longer than the start-up, in which nothing is written.
    cause = attempt(task(campaign, hang_seconds=20.0))
    assert cause.startswith("no progress for")
    assert campaign.attempt(CLIP)["number"] == 2
    assert processes_of(campaign.attempt(CLIP)["token"]) == []
