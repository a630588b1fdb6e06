"""Seconds of a network's steps on this machine, measured once and cached.

They are for a machine without other work. They are measured in a process of their own
(`step_measurement`), whose memory and threads are those of a client's.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from operation.environment import KEEP_FREED_MEMORY, SLEEPING_THREADS
from operation.files import parse_json, write_json
from training.config import ExperimentConfig
from training.device import processor_name
from training.errors import TrainingError

FILE_NAME = "step-times.json"


@dataclass(frozen=True)
class Setting:
    """What a backbone's times depend on.

    The optimizer is not part of it: its step is short compared with the gradients of a batch.
    """

    backbone: str
    trainable: str
    image_size: int
    objective: str
    augmentation: str
    device: str
    precision: str
    batch_size: int
    threads: int
    aligned: bool  # a step also runs on reference images


@dataclass(frozen=True)
class StepTime:
    """Seconds and bytes on this machine.

    Where training runs on cached features, ``training`` and ``judging`` are of an image's features.
    """

    training: float  # forward and backward pass of one training image
    step: float  # the optimizer's step after a batch
    judging: float  # one image in evaluation mode
    features: float  # the features of one image, by the whole network
    activations: int  # bytes that a batch of the real size adds to a process while it is trained
    measured: int  # number of images in the measured batches
    starting: float  # of a small simulation besides its rounds, see `start_measurement`


def setting(config: ExperimentConfig) -> Setting:
    """Return the setting of a resolved config."""
    return Setting(
        config.backbone,
        config.trainable,
        config.image_size,
        config.objective,
        config.augmentation,
        config.device,
        config.precision,
        config.batch_size,
        config.threads_per_client,
        config.alignment != "none" and config.alignment_weight > 0,
    )


def measure_steps(
    configs: Iterable[ExperimentConfig],
    cache_dir: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Setting, StepTime]:
    """Measure the settings of some configs that this machine has not measured before.

    It runs the training epoch and the evaluation of a run with random images and weights, so it
    needs neither data nor published weights. Twelve backbones take a few minutes on two cores.

    Args:
        configs: resolved; ``threads-per-client`` is the number of threads of a client.
        cache_dir: times are stored here in ``step-times.json``, by processor and torch version.
        progress: called with (settings measured, settings to measure).

    Raises:
        TrainingError: a step cannot be run here.
    """
    wanted = {setting(config): config for config in configs}
    path = cache_dir / FILE_NAME
    known = _read(path)
    missing = {each: config for each, config in wanted.items() if _key(each) not in known}
    if missing:
        progress(0, len(missing))
        found = _in_another_process(list(missing.values()))
        for done, (each, times) in enumerate(zip(missing, found, strict=True), start=1):
            # Read again: another plan may have written meanwhile.
            known = {**known, **_read(path), _key(each): times}
            write_json(path, {key: asdict(times) for key, times in known.items()})
            progress(done, len(missing))
    return {each: known[_key(each)] for each in wanted}


def _read(path: Path) -> dict[str, StepTime]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return {key: StepTime(**times) for key, times in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged: measure again
        return {}


def _key(each: Setting) -> str:
    if each.device == "cuda":
        import torch

        processor = torch.cuda.get_device_name()
    else:
        processor = processor_name()
    return json.dumps([processor, metadata.version("torch"), *asdict(each).values()])


def _in_another_process(configs: Sequence[ExperimentConfig]) -> Iterator[StepTime]:
    """Yield the times of some configs, in order, as they are measured."""
    environment = {**SLEEPING_THREADS, **os.environ, **KEEP_FREED_MEMORY}
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe that nobody reads would fill
        subprocess.Popen(
            [sys.executable, "-m", "experiments.planning.step_measurement"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        process.stdin.write(json.dumps([config.to_flat() for config in configs]))
        process.stdin.close()
        for _ in configs:
            line = process.stdout.readline()
            if not line:
                process.wait()
                errors.seek(0)
                said = errors.read().strip().splitlines()
                raise TrainingError(f"steps cannot be measured: {said[-1] if said else 'killed'}")
            yield StepTime(**parse_json(line))
