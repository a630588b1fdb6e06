"""``fedskin clip`` and ``fedskin predict`` as a person meets them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from tests.run_shape import assert_like_a_generated_one
from tests.runs import begin, fedskin, read_json
from training.run_folder import RunFolder

SMALL = {
    "backbone": "resnet18",
    "pretrained": "false",
    "text-encoder": "ViT-B/32",  # the smallest text tower
    "image-size": "32",
    "epochs": "2",
    "device": "cpu",
}


def options(data: Path, cache: Path, **changes: str) -> list[str]:
    values = {**SMALL, "data-dir": data, "cache-dir": cache}
    values |= {key.replace("_", "-"): value for key, value in changes.items()}
    return [word for key, value in values.items() for word in ("-c", f"{key}={value}")]


@pytest.fixture(scope="module")
def finished(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder and the output of a small run."""
    here = tmp_path_factory.mktemp("anywhere")
    arguments = options(synthetic_ham, here / "cache")
    result = fedskin("clip", *arguments, "--out", "out", cwd=here)
    assert result.returncode == 0, result.stdout + result.stderr
    return here / "out", result.stdout


def test_run_folder_is_complete_and_tells_of_the_random_text(finished: tuple[Path, str]) -> None:
    out, output = finished
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        "config.toml",
        "manifest.json",
        "rounds.jsonl",
        "checkpoint",
        "metrics.json",
        "text-features.safetensors",
        "predictions-global_test.csv",
        "predictions-last_global_test.csv",
    }
    manifest = read_json(out / "manifest.json")
    assert (manifest["status"], manifest["command"]) == ("completed", "clip")
    assert manifest["text"]["weights"] == "random, seed 0"
    assert manifest["text"]["prompts"][4] == "a picture of a melanoma"
    assert "epoch 2 of 2" in output
    assert "SYNTHETIC" in output
    assert "RANDOM text tower" in output


def test_generated_run_folders_are_like_this_one(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    assert_like_a_generated_one(finished[0], tmp_path)


def test_completed_run_is_shown_not_run_again(finished: tuple[Path, str]) -> None:
    out, _ = finished
    again = fedskin("clip", "--resume", "--out", out, cwd=out.parent)
    assert again.returncode == 0
    assert "completed" in again.stdout


def test_another_command_does_not_go_on_with_it(finished: tuple[Path, str]) -> None:
    out, _ = finished
    result = fedskin("simulate", "--resume", "--out", out, cwd=out.parent)
    assert result.returncode == 2
    assert "fedskin clip" in result.stderr


def test_a_classifier_is_no_work_for_clip(synthetic_ham: Path, tmp_path: Path) -> None:
    arguments = options(synthetic_ham, tmp_path / "cache", objective="classifier")
    result = fedskin("clip", *arguments, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "objective = 'classifier'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_missing_weights_leave_no_folder(synthetic_ham: Path, tmp_path: Path) -> None:
    """The text tower's file is named, and where it comes from, before anything starts."""
    (tmp_path / "weights").mkdir()
    arguments = options(
        synthetic_ham, tmp_path / "cache", pretrained="true", weights_dir=str(tmp_path / "weights")
    )
    result = fedskin("clip", *arguments, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "timm/vit_base_patch32_clip_224.openai" in result.stderr
    assert "open_clip_model.safetensors" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_predictions_are_those_of_the_run(
    finished: tuple[Path, str], synthetic_ham: Path, tmp_path: Path
) -> None:
    """On the test set's own files: the best model's answers, up to the rounding of a batch."""
    out, _ = finished
    files = sorted((synthetic_ham / "ISIC2018_Task3_Test_Input").glob("*.jpg"))[:20]
    result = fedskin("predict", out, *files, "--out", "answers.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = pd.read_csv(tmp_path / "answers.csv")
    known = pd.read_csv(out / "predictions-global_test.csv").iloc[:20]
    assert [Path(name).stem for name in found["image"]] == known["image_id"].tolist()
    classes = list(HAM10000_CLASSES)
    np.testing.assert_allclose(found[classes], known[classes], rtol=1e-3, atol=1e-6)
    assert found["predicted"].tolist() == found[classes].idxmax(axis=1).tolist()


@pytest.mark.slow
def test_predictions_as_a_table(finished: tuple[Path, str], synthetic_ham: Path) -> None:
    out, _ = finished
    image = next((synthetic_ham / "ISIC2018_Task3_Test_Input").glob("*.jpg"))
    result = fedskin("predict", out, image, cwd=out.parent)
    assert result.returncode == 0
    assert image.stem[:6] in result.stdout
    assert "not for diagnosis" in result.stdout
    assert "SYNTHETIC" in result.stdout


def test_predict_names_what_it_cannot_use(finished: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = finished
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for arguments, words in (
        ([out, "nowhere.jpg"], ["nowhere.jpg", "no such image"]),
        ([out, broken], ["broken.jpg", "unreadable image"]),
        ([tmp_path, broken], [str(tmp_path), "not a run folder"]),
    ):
        result = fedskin("predict", *arguments, "--out", "answers.csv", cwd=tmp_path)
        assert result.returncode == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert all(word in result.stderr for word in words)
        assert not (tmp_path / "answers.csv").exists()


def test_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.centralized_clip", "-c", "epochs=0"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "epochs = 0" in result.stderr


@pytest.mark.slow
def test_resume_after_a_kill_is_exact(
    finished: tuple[Path, str], synthetic_ham: Path, tmp_path: Path
) -> None:
    """kill -9 after the first of three epochs, SIGTERM after the second, then --resume for four.

    Beside a run of four epochs that was left alone.
    """
    cache = finished[0].parent / "cache"
    whole = fedskin(
        "clip", *options(synthetic_ham, cache, epochs="4"), "--out", "whole", cwd=tmp_path
    )
    assert whole.returncode == 0, whole.stderr
    folder = RunFolder(tmp_path / "killed")

    def ended_after(epoch: int, number: signal.Signals, *arguments: str) -> tuple[Any, ...]:
        """Start, end by a signal after an epoch, and return exit status, status and cause."""
        command = ["clip", *arguments, "--out", "killed"]
        process = begin(*command, cwd=tmp_path, output=tmp_path / "output")
        deadline = time.monotonic() + 120
        while folder.checkpoint.progress().round < epoch:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, number)
        status = process.wait(60)
        manifest = folder.manifest()
        return status, manifest["status"], manifest["cause"]

    arguments = options(synthetic_ham, cache, epochs="3")
    assert ended_after(1, signal.SIGKILL, *arguments) == (-9, "running", None)
    assert ended_after(2, signal.SIGTERM, "--resume") == (130, "failed", "interrupted")
    resumed = fedskin("clip", "--resume", "-c", "epochs=4", "--out", "killed", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    losses, expected = (
        [record["train_loss"] for record in RunFolder(tmp_path / name).rounds()]
        for name in ("killed", "whole")
    )
    assert losses == expected
    assert read_json(tmp_path / "killed/metrics.json") == read_json(tmp_path / "whole/metrics.json")
