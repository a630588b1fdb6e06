"""Measures a network's steps in a few real ones; run by `step_times` as a process of its own.

On a CPU the time counts that the process was given, so other programs' time does not.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from data_partition.image_store import store_side
from experiments.planning.start_measurement import seconds_besides_rounds
from experiments.planning.step_times import StepTime
from models.registry import find_backbone
from models.text_encoders import find_text_encoder
from operation.files import parse_json
from training import optimizers
from training.clip_text import ClipText
from training.config import ExperimentConfig, parse
from training.network import features_of, move_to_device, sent_part
from training.split import Split
from training.task import Task

# A step of the real batch size is measured unless it takes longer than this many seconds on a CPU;
# then one of a few images is, whose time per image is nearly the same.
_LONGEST_STEP = 4.0
_IMAGES_OF_224 = 2  # of the few; of smaller images more

# Batches of an epoch on cached features: with few, what an epoch costs once would count as theirs.
_BATCHES_OF_FEATURES = 16

# Each measurement is repeated for so many seconds, and at least this many times.
_SECONDS = 0.5
_REPEATS = 3

_NUM_CLASSES = 7  # HAM10000's; a few more or less take no time

_POLL_SECONDS = 0.005  # of the memory, while a step runs


def measure(config: ExperimentConfig) -> StepTime:
    """Measure the steps of a resolved config in this process, with its number of threads."""
    torch.set_num_threads(config.threads_per_client)
    few = max(2, _IMAGES_OF_224 * 224**2 // config.image_size**2)
    if config.device != "cpu" or few >= config.batch_size:
        return _measure_batch(config, config.batch_size)
    found = _measure_batch(config, few)
    # The images of cached features are only judged, in the first round.
    an_image = found.features if config.on_features else found.training
    if an_image * config.batch_size > _LONGEST_STEP:
        return found
    # Memory that was freed is kept, so only a process's first measurement sees what is needed.
    return replace(_measure_batch(config, config.batch_size), activations=found.activations)


def _measure_batch(config: ExperimentConfig, batch_size: int) -> StepTime:
    """Measure with random images, ``batch_size`` at a time."""

    side = store_side(config.image_size)
    generator = np.random.default_rng(0)

    def split_of(images: NDArray) -> Split:
        labels = generator.integers(0, _NUM_CLASSES, len(images))
        return Split(images, labels, np.arange(len(images)))

    batch = split_of(generator.integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8))
    text = None
    if config.objective == "clip":
        width = find_text_encoder(config.text_encoder).width
        text = ClipText(np.full((_NUM_CLASSES, width), width**-0.5, dtype=np.float32), 100.0)
    of_images = config.replace(pretrained=False, batch_size=batch_size)
    task = Task(of_images, _NUM_CLASSES, text)
    network = move_to_device(task.build(), config)
    training, trained, seen, features = task, network, batch, 0.0
    device = torch.device(config.device)
    if config.on_features:
        with _peak(device.type) as added:
            features_of(network, batch, of_images)
        (features,) = _quiet(_timed(lambda: features_of(network, batch, of_images), device.type))
        rows = _BATCHES_OF_FEATURES * config.batch_size
        shape = (rows, 1, find_backbone(config.backbone).width)
        seen = split_of(generator.normal(size=shape).astype(np.float32))
        training = Task(config, _NUM_CLASSES, text)
        trained = training.restore_over_features(sent_part(network))
    optimizer = optimizers.build_optimizer(config.to_flat(), trained.trained().values())
    began, steps = _clocks(), [0.0]

    def begin(*_: object) -> None:
        nonlocal began
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = _clocks()

    def end(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        steps.append(_between(began, _clocks(), device.type))

    optimizer.register_step_pre_hook(begin)
    optimizer.register_step_post_hook(end)

    def train() -> tuple[float, float]:
        """Return the seconds of an epoch's gradients, and of a step of the optimizer."""
        steps.clear()
        started = _clocks()
        training.train(trained, seen, optimizer, round_number=1, rounds=1, reference=seen)
        epoch = _between(started, _clocks(), device.type)
        return max(0.0, epoch - sum(steps)), sum(steps) / len(steps)

    if not config.on_features:
        before = _bytes_of(_state(optimizer))
        with _peak(device.type) as added:
            train()
        # This first step has also made the gradients and most optimizers' state.
        added[0] -= _bytes_of([*trained.trained().values(), *_state(optimizer)]) - before
    gradients, step = _quiet(train)
    (judging,) = _quiet(_timed(lambda: training.evaluate(trained, seen), device.type))
    return StepTime(
        training=gradients / len(seen),
        step=step,
        judging=judging / len(seen),
        features=features / batch_size if config.on_features else judging / len(seen),
        activations=max(0, added[0]) * config.batch_size // batch_size,
        measured=batch_size,
        starting=_starting(),
    )


_starting = cache(seconds_besides_rounds)  # of all that is measured together


def _state(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return the tensors that an optimizer keeps."""
    kept = (value for each in optimizer.state.values() for value in each.values())
    return [value for value in kept if isinstance(value, torch.Tensor)]


def _bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _timed(work: Callable[[], object], device: str) -> Callable[[], tuple[float]]:
    def timed() -> tuple[float]:
        started = _clocks()
        work()
        return (_between(started, _clocks(), device),)

    return timed


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _between(start: tuple[float, float], end: tuple[float, float], device: str) -> float:
    """Return the seconds between two readings of the clocks, without the time of other programs.

    While these have the cores, a process gets less processor time than the clock on the wall says.
    """
    wall, given = end[0] - start[0], end[1] - start[1]
    return min(wall, given) if device == "cpu" else wall


def _quiet(measure_once: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """Return of each duration what a tenth of the measurements stay below; the first is dropped.

    While other programs use the caches, most take longer than on a machine without other work.
    """
    measure_once()
    samples: list[tuple[float, ...]] = []
    total = 0.0
    while len(samples) < _REPEATS or total < _SECONDS:
        samples.append(measure_once())
        total += sum(samples[-1])
    return tuple(np.quantile(samples, 0.1, axis=0).tolist())


@contextmanager
def _peak(device: str) -> Iterator[list[int]]:
    """Yield a list that holds, after the block, the most bytes that the block added."""
    added = [0]
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield added
        added[0] = torch.cuda.max_memory_allocated() - before
        return
    process, ended = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            added[0] = max(added[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield added
    finally:
        ended.set()
        watcher.join()


def _main() -> None:
    """Measure the configs on standard input, and print a line of JSON for each."""
    for each in parse_json(sys.stdin.read()):
        sys.stdout.write(json.dumps(asdict(measure(parse(each)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
