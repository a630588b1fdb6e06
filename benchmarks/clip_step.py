"""The cost of the text in a CLIP training step.

Each side is one step of `training.epoch.train_epoch` on the same images: crop, flip and normalise
the batch, forward, backward, step, with all cores and the same optimizer. The classifier has seven
outputs. The image encoder's output has the width of the text features, which were computed once,
and is compared with them. The naive side runs the frozen text tower on the prompts of every batch's
labels, as CLIP's own training does, and is otherwise the same. The sides alternate, so that a busy
machine slows all of them equally. Weights are random; the cost does not depend on them.
"""

from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice

import joblib
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.fedprox_step import random_images
from benchmarks.result import Result, ratio
from benchmarks.timing import interleaved, torch_threads
from data_partition.datasets import find_dataset
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.image_store import store_side
from models.clip import ImageTextClassifier
from models.text_encoders import TEXT_ENCODERS
from models.text_features import prompts
from models.text_tower import encode_random, random_tower
from training import optimizers
from training.clip_text import ClipText
from training.config import parse
from training.epoch import train_epoch
from training.losses import loss_function
from training.network import preprocessing
from training.study import resolve
from training.task import Task

CLASSIFIER, CLIP, NAIVE = "classifier step", "CLIP step", "CLIP step that runs the text tower"


class _TextEveryTime(nn.Module):
    """An image-text classifier that encodes a prompt for each image of every batch."""

    def __init__(self, network: ImageTextClassifier, tower: nn.Module, texts: Sequence[str]):
        super().__init__()
        self.network = network
        self.tower = tower
        self.texts = texts

    def forward(self, images: Tensor) -> Tensor:
        # The labels do not change the cost, so the classes simply alternate.
        batch = list(islice(cycle(self.texts), len(images)))
        with torch.no_grad():
            encoded = functional.normalize(self.tower(open_clip.tokenize(batch)), dim=1)
        text = encoded[: len(self.texts)]
        return self.network.logit_scale * (self.network.embeddings(images) @ text.T)


def measure(
    repeats: int = 15,
    *,
    backbone: str = "convnext_t",
    text_encoder: str = "ViT-L/14",
    image_size: int = 224,
    batch_size: int = 16,
) -> list[Result]:
    """Time the steps of all sides alternately.

    Args:
        repeats: steps of each side, after one of each that is not counted.
        backbone, text_encoder, image_size, batch_size: as in a config.
    """
    threads = joblib.cpu_count()
    images = random_images(batch_size, store_side(image_size))
    texts = prompts(find_dataset("ham10000").names_in_words(HAM10000_CLASSES))
    features, logit_scale = encode_random(TEXT_ENCODERS[text_encoder], texts, 0)
    text = ClipText(features.numpy(), logit_scale)

    def step(objective: str, *, naive: bool = False) -> "partial[float]":
        values = {
            "objective": objective,
            "optimizer": "adagrad",
            "backbone": backbone,
            "text-encoder": text_encoder,
            "pretrained": False,
            "image-size": image_size,
            "batch-size": batch_size,
        }
        config = resolve(
            parse(values), dataset="ham10000", device="cpu", threads_per_client=threads
        )
        with_text = text if objective == "clip" else None
        network: nn.Module = Task(config, len(HAM10000_CLASSES), with_text).build()
        optimizer = optimizers.build_optimizer(config.to_flat(), network.parameters())
        if naive:
            assert isinstance(network, ImageTextClassifier)
            tower = random_tower(TEXT_ENCODERS[text_encoder], 0)
            network = _TextEveryTime(network, tower.requires_grad_(False), texts)
        return partial(
            train_epoch,
            network,
            images,
            optimizer,
            batch_size=batch_size,
            preprocessing=preprocessing(config),
            generator=torch.Generator().manual_seed(0),
            loss_function=loss_function(
                config.to_flat(), images.class_counts(len(HAM10000_CLASSES))
            ),
        )

    with torch_threads(threads):
        sides = {
            CLASSIFIER: step("classifier"),
            CLIP: step("clip"),
            NAIVE: step("clip", naive=True),
        }
        samples = interleaved(sides, repeats)
    settings = {
        "backbone": backbone,
        "text encoder": text_encoder,
        "image size": image_size,
        "batch size": batch_size,
        "optimizer": "adagrad",
        "threads": threads,
    }
    return [
        Result(
            name="clip-step",
            compares="A CLIP training step, text features computed once, over the same backbone's "
            "classifier step.",
            value=ratio(CLIP, CLASSIFIER, samples),
            unit="x",
            samples=samples,
            at_most=1.05,
            details={**settings, "naive over classifier": ratio(NAIVE, CLASSIFIER, samples)},
        )
    ]
