"""How fast a device is: from stored images to a network's input, and one network beside bare loops.

For the device and the numbers see `benchmarks.gpu_networks`.
"""

import statistics
import tempfile
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.gpu_networks import (
    CLASSES,
    configured,
    on_disk,
    pytorch_defaults,
    train,
)
from benchmarks.timing import interleaved
from models.registry import find_backbone
from training import optimizers
from training.epoch import evaluate
from training.inference import extract_features
from training.network import move_to_device, preprocessing
from training.stored_batches import stored_batches
from training.task import Task


@dataclass(frozen=True)
class Images:
    """What becomes of stored images on a device.

    Attributes:
        same_crops: whether training's crops and flips have the CPU's bits.
        levels: the largest difference of an evaluation batch to the CPU's, in levels of 255.
        per_second: images from a memory-mapped store to the network's input on the device.
    """

    same_crops: bool
    levels: float
    per_second: float


def stored_images(
    device: str, *, image_size: int = 224, batch_size: int = 32, batches: int = 20
) -> Images:
    """Copy stored images to a device as bytes; crop, flip, resize and normalise them there."""
    where = torch.device(device)
    inputs = preprocessing(
        configured("resnet18", device, image_size=image_size, batch_size=batch_size)
    )
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        images = on_disk(Path(name), batches * batch_size, image_size).images
        here = torch.from_numpy(np.array(images[:batch_size]))
        there = here.to(where)
        seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
        crops = [
            inputs.for_training(batch, seed).cpu()
            for batch, seed in zip((there, here), seeds, strict=True)
        ]
        whole = [inputs.for_evaluation(batch).cpu() for batch in (there, here)]
        generator = torch.Generator().manual_seed(0)
        _synchronize(device)
        started = time.perf_counter()
        rows = np.split(np.arange(len(images)), batches)
        for batch in stored_batches(images, rows, where):
            inputs.for_training(batch, generator)
        _synchronize(device)
        seconds = time.perf_counter() - started
    scale = 255 * torch.tensor(inputs.std).reshape(3, 1, 1)
    difference = float(((whole[0] - whole[1]).abs() * scale).max())
    return Images(torch.equal(*crops), difference, len(images) / seconds)


@dataclass(frozen=True)
class Speed:
    """Images per second of a network, and of the bare loops beside it.

    Attributes:
        training: an epoch of `train_epoch` from an image store.
        bare_exact: a loop over prepared batches that are already on the device, with the kernels
            of `use_exact_kernels`.
        bare_training: that loop with PyTorch's own settings.
        evaluation, extraction, bare_forward: like the first and the last, without gradients.
    """

    training: float
    bare_exact: float
    bare_training: float
    evaluation: float
    extraction: float
    bare_forward: float


def speed(
    backbone: str,
    device: str,
    *,
    precision: str = "bfloat16",
    image_size: int = 224,
    batch_size: int = 32,
    batches: int = 10,
    repeats: int = 3,
) -> Speed:
    """Time all sides alternately, and return the medians."""
    config = configured(backbone, device, image_size=image_size, batch_size=batch_size)
    network = move_to_device(Task(config, CLASSES).build(), config)
    bare = deepcopy(network)
    optimizer = optimizers.build_optimizer(config.to_flat(), network.parameters())
    bare_optimizer = optimizers.build_optimizer(config.to_flat(), bare.parameters())
    count = batches * batch_size
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        images = on_disk(Path(name), count, config.image_size)
        inputs = preprocessing(config)
        generator = torch.Generator().manual_seed(0)
        ready = []
        for part in torch.arange(2 * batch_size).split(batch_size):
            stored = torch.from_numpy(images.images[part.numpy()]).to(device)
            labels = torch.from_numpy(images.labels[part.numpy()]).to(device)
            ready.append((inputs.for_training(stored, generator), labels))

        def bare_exact() -> None:
            bare.train()
            for index in range(batches):
                batch, labels = ready[index % 2]
                bare_optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                    loss = functional.cross_entropy(bare(batch), labels)
                loss.backward()
                bare_optimizer.step()
            _synchronize(device)

        def bare_training() -> None:
            with pytorch_defaults():
                bare_exact()

        def bare_forward() -> None:
            bare.eval()
            with pytorch_defaults(), torch.inference_mode():
                for index in range(batches):
                    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                        bare(ready[index % 2][0])
                _synchronize(device)

        arguments = {"batch_size": batch_size, "preprocessing": inputs, "precision": precision}
        samples = interleaved(
            {
                "training": lambda: train(config, network, images, optimizer, precision),
                "bare_exact": bare_exact,
                "bare_training": bare_training,
                "evaluation": lambda: evaluate(network, images, num_classes=CLASSES, **arguments),
                "extraction": lambda: extract_features(
                    network,
                    images.images,
                    images.indices,
                    width=find_backbone(backbone).width,
                    **arguments,
                ),
                "bare_forward": bare_forward,
            },
            repeats,
        )
    return Speed(**{side: count / statistics.median(taken) for side, taken in samples.items()})


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
