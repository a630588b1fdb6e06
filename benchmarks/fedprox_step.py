"""The cost of FedProx's proximal term in a training step.

Each side is one step of `training.epoch.train_epoch` on the same 32 images with the study's SGD:
crop, flip and normalise the batch, forward, backward, step, with all cores. The FedProx side adds
μ(w − w_glo) to the gradients before the step, by the same hook as in a client. Each side has its
own model, from the same weights. The sides alternate, so that a busy machine slows both equally.
"""

import time
from collections.abc import Callable

import joblib
import numpy as np
import torch

from benchmarks.result import Result, ratio
from benchmarks.timing import interleaved, torch_threads
from data_partition.image_store import store_side
from models.backbones import build_backbone
from models.registry import find_backbone
from strategies.methods.fedprox import add_proximal_gradient
from training.epoch import train_epoch
from training.inference import Preprocessing
from training.optimizers import OPTIMIZERS
from training.split import Split

FEDAVG, FEDPROX = "FedAvg step", "FedProx step"
NUM_CLASSES, MU = 7, 0.01


def measure(
    repeats: int = 20, *, backbone: str = "convnext_t", image_size: int = 224, batch_size: int = 32
) -> list[Result]:
    """Time the steps of both sides alternately.

    Args:
        repeats: steps of each side, after one of each that is not counted.
        backbone, image_size, batch_size: as in a config.
    """
    threads = joblib.cpu_count()
    pull_seconds: list[float] = []
    with torch_threads(threads):
        images = random_images(batch_size, store_side(image_size))
        step = _Step(backbone, images, image_size)
        anchored = _Step(backbone, images, image_size)
        local = list(anchored.model.parameters())
        anchor = [parameter.detach().clone() for parameter in local]

        def pull() -> None:
            started = time.perf_counter()
            add_proximal_gradient(local, anchor, MU)
            pull_seconds.append(time.perf_counter() - started)

        sides = {FEDAVG: step.take, FEDPROX: lambda: anchored.take(pull)}
        samples = interleaved(sides, repeats)
    samples = {**samples, "proximal term alone": pull_seconds[-repeats:]}
    return [
        Result(
            name="fedprox-step",
            compares="A training step with FedProx's proximal term over one without.",
            value=ratio(FEDPROX, FEDAVG, samples),
            unit="x",
            samples=samples,
            at_most=1.05,
            details={
                "backbone": backbone,
                "image size": image_size,
                "batch size": batch_size,
                "threads": threads,
                "term alone over a FedAvg step": ratio("proximal term alone", FEDAVG, samples),
            },
        )
    ]


class _Step:
    """One model with its optimizer; every step has the same weights and batch."""

    def __init__(self, backbone: str, images: Split, image_size: int) -> None:
        self.images = images
        self.model = build_backbone(
            backbone, NUM_CLASSES, pretrained=False, image_size=image_size, seed=0
        )
        studied = OPTIMIZERS["sgd"]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=studied.learning_rate, weight_decay=studied.weight_decay
        )
        spec = find_backbone(backbone)
        self.preprocessing = Preprocessing(image_size, spec.mean, spec.std)
        self.generator = torch.Generator().manual_seed(0)

    def take(self, before_step: Callable[[], None] | None = None) -> None:
        """Train an epoch of one batch: one step."""
        train_epoch(
            self.model,
            self.images,
            self.optimizer,
            batch_size=len(self.images),
            preprocessing=self.preprocessing,
            generator=self.generator,
            before_step=before_step,
        )


def random_images(count: int, side: int) -> Split:
    """Return ``count`` random images of seven classes, ``side`` pixels wide and high."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = generator.integers(0, NUM_CLASSES, count)
    return Split(pixels, labels, np.arange(count))
