"""Time per image of a backbone on this machine, measured in a few steps and cached."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_partition.image_store import store_side
from models.registry import find_backbone
from models.text_encoders import find_text_encoder
from operation.files import parse_json, write_json
from training.config import ExperimentConfig
from training.device import processor_name

FILE_NAME = "step-times.json"

# Images of 224 pixels in a measured batch on a CPU: the time per image is the same as in a larger
# batch, and 32 of convnext_l take a minute. For smaller images more, up to the real batch size.
_IMAGES_OF_224 = 2

# Each measurement is repeated for so long.
_SECONDS = 1.0

_NUM_CLASSES = 7


@dataclass(frozen=True)
class Setting:
    """What a backbone's times depend on.

    The optimizer is not part of it: its step is short compared with the gradients of a batch.
    """

    backbone: str
    trainable: str
    image_size: int
    objective: str
    device: str
    precision: str
    batch_size: int
    threads: int
    aligned: bool  # a step also runs on reference images


@dataclass(frozen=True)
class StepTime:
    """Seconds on this machine."""

    training: float  # forward and backward pass of one training image, or of its cached features
    step: float  # the optimizer's step after a batch
    judging: float  # one image in evaluation mode


def setting(config: ExperimentConfig) -> Setting:
    """Return the setting of a resolved config."""
    return Setting(
        config.backbone,
        config.trainable,
        config.image_size,
        config.objective,
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
    needs neither data nor published weights. Twelve backbones take a minute or two on two cores.

    Args:
        configs: resolved; ``threads-per-client`` is the number of cores of a trial.
        cache_dir: times are stored here in ``step-times.json``, by processor and torch version.
        progress: called with (settings measured, settings in total).
    """
    wanted = {setting(config): config for config in configs}
    path = cache_dir / FILE_NAME
    known = _read(path)
    for done, (each, config) in enumerate(wanted.items()):
        progress(done, len(wanted))
        if _key(each) not in known:
            known[_key(each)] = _measure(config)
            write_json(path, {key: asdict(times) for key, times in known.items()})
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


def _measure(config: ExperimentConfig) -> StepTime:
    # Imported here: torch takes seconds, and cached times do not need it.
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads_per_client)
    try:
        return _measure_here(config)
    finally:
        torch.set_num_threads(threads)


def _measure_here(config: ExperimentConfig) -> StepTime:
    import torch

    from training import optimizers
    from training.clip_text import ClipText
    from training.network import move_to_device, sent_part
    from training.split import Split
    from training.task import Task

    batch_size, side = _batch_size(config), store_side(config.image_size)
    generator = np.random.default_rng(0)

    def split_of(images: NDArray) -> Split:
        labels = generator.integers(0, _NUM_CLASSES, len(images))
        return Split(images, labels, np.arange(len(images)))

    batch = split_of(generator.integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8))
    text = None
    if config.objective == "clip":
        width = find_text_encoder(config.text_encoder).width
        text = ClipText(np.full((_NUM_CLASSES, width), width**-0.5, dtype=np.float32), 100.0)
    task = Task(config.replace(pretrained=False, batch_size=batch_size), _NUM_CLASSES, text)
    network = move_to_device(task.build(), config)
    training, trained, seen = task, network, batch
    if config.on_features:
        shape = (config.batch_size, 1, find_backbone(config.backbone).width)
        seen = split_of(generator.normal(size=shape).astype(np.float32))
        training = Task(config, _NUM_CLASSES, text)
        trained = training.restore_over_features(sent_part(network))
    optimizer = optimizers.build_optimizer(config.to_flat(), trained.trained().values())
    device = torch.device(config.device)
    gradients_done = 0.0

    def mark() -> None:
        nonlocal gradients_done
        if device.type == "cuda":
            torch.cuda.synchronize()
        gradients_done = time.perf_counter()

    def train() -> tuple[float, float]:
        started = time.perf_counter()
        training.train(
            *(trained, seen, optimizer),
            round_number=1,
            rounds=1,
            before_step=mark,
            reference=seen,
        )
        return gradients_done - started, time.perf_counter() - gradients_done

    def judge() -> tuple[float]:
        started = time.perf_counter()
        task.evaluate(network, batch)
        return (time.perf_counter() - started,)

    gradients, step = _mean_of(train)
    (judging,) = _mean_of(judge)
    return StepTime(gradients / len(seen), step, judging / batch_size)


def _batch_size(config: ExperimentConfig) -> int:
    if config.device != "cpu":
        return config.batch_size
    return min(config.batch_size, max(2, _IMAGES_OF_224 * 224**2 // config.image_size**2))


def _mean_of(measure: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """Return the mean of each duration, without the first measurement."""
    measure()
    samples = [measure()]
    while np.sum(samples) < _SECONDS:
        samples.append(measure())
    return tuple(np.mean(samples, axis=0).tolist())
