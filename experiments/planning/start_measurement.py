"""Measures what a run costs besides its rounds, by a real one that has hardly any."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data_partition.datasets import own_datasets
from training.config import ExperimentConfig
from training.errors import TrainingError
from training.run_folder import RunFolder

_IMAGES, _ROUNDS = 40, 3


def seconds_besides_rounds() -> float:
    """Run a small simulation on the CPU, on synthetic images, and return its seconds that are not
    its rounds': processes, libraries, the last evaluation.

    While other programs have the cores, the processor time that it was given is less than the time
    on the clock, and counts instead.

    Raises:
        TrainingError: it failed; with its last line.
    """
    synthetic = next(each.synthetic for each in own_datasets() if each.synthetic is not None)
    with tempfile.TemporaryDirectory(prefix="fedskin-plan-") as name:
        folder = Path(name)
        synthetic.write(folder / "data", _IMAGES, 0)
        config = ExperimentConfig().replace(
            data_dir=str(folder / "data"),
            cache_dir=str(folder / "cache"),
            backbone="resnet18",
            pretrained=False,
            trainable="head",
            image_size=32,
            rounds=_ROUNDS,
            device="cpu",
        )
        (folder / "small.toml").write_text(config.to_toml(), encoding="utf-8")
        run = RunFolder(folder / "run")
        command = [sys.executable, "-m", "fedskin", "simulate", str(folder / "small.toml")]
        before, began = _given(), time.perf_counter()
        ended = subprocess.run(
            [*command, "--out", str(run.path)], capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - began
        if ended.returncode:
            said = (ended.stdout + ended.stderr).strip().splitlines()
            raise TrainingError(f"a small simulation: {said[-1] if said else 'killed'}")
        rounds = [record["seconds"] for record in run.rounds()]
    besides = seconds - sum(each["round"] + each["checkpoint"] for each in rounds)
    return min(besides, _given() - before)


def _given() -> float:
    """Return the processor time of this process's ended children and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
