"""A client's round with the adapter on cached features, compared with one of full fine-tuning.

Both sides run `fl_client.local_training.train_locally` in round two: load the model, validate the
received weights, train one epoch, reply. Images, settings and thread count are the same. The
adapter's features are already cached, as they are from the second round on. The two sides
alternate.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from benchmarks.fedprox_step import NUM_CLASSES, random_images
from benchmarks.result import Result, ratio
from benchmarks.timing import interleaved, torch_threads
from data_partition.image_store import store_side
from fl_client.client import Client, base_of
from fl_client.local_training import train_locally
from training.config import ExperimentConfig, parse
from training.network import sent_part
from training.study import resolve
from training.task import Task

FULL, ADAPTER = "full fine-tuning round", "adapter round, features kept"


def measure(
    repeats: int = 3,
    *,
    backbone: str = "convnext_t",
    image_size: int = 224,
    num_images: int = 64,
) -> list[Result]:
    """Run rounds of both sides alternately.

    Args:
        repeats: rounds of each side, after one of each that is not counted.
        backbone, image_size: as in a config.
        num_images: number of training images; a quarter as many more are used for validation.
    """
    threads = joblib.cpu_count()
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name, torch_threads(threads):
        rounds = {
            side: _Round(Path(name), backbone, image_size, num_images, trainable, threads)
            for side, trainable in ((FULL, "all"), (ADAPTER, "adapter"))
        }
        samples = interleaved({side: one.run for side, one in rounds.items()}, repeats)
    return [
        Result(
            name="adapter-round",
            compares="A client's round with the adapter, features kept, over one of full "
            "fine-tuning on the same images.",
            value=ratio(ADAPTER, FULL, samples),
            unit="x",
            samples=samples,
            at_most=1 / 50,
            details={
                "backbone": backbone,
                "image size": image_size,
                "training images": num_images,
                "threads": threads,
                "megabytes sent, full": rounds[FULL].megabytes,
                "megabytes sent, adapter": rounds[ADAPTER].megabytes,
            },
        )
    ]


class _Round:
    """One client of one config, always in the second round and from the same weights."""

    def __init__(
        self,
        folder: Path,
        backbone: str,
        image_size: int,
        num_images: int,
        trainable: str,
        threads: int,
    ) -> None:
        config = _config(folder, backbone, image_size, trainable, threads)
        images = random_images(num_images + num_images // 4, store_side(image_size))
        train, validation = np.split(images.indices, [num_images])
        splits = {
            "train": replace(images, indices=train),
            "validation": replace(images, indices=validation),
        }
        classes = tuple(map(str, range(NUM_CLASSES)))
        self.client = Client(
            "client-0", config, splits, classes, folder / trainable, pd.DataFrame()
        )
        self.weights = sent_part(Task(config, NUM_CLASSES).build())
        self.megabytes = sum(array.nbytes for array in self.weights.values()) / 1e6
        self.settings: dict[str, int | str] = {"round": 2, "client-index": 0}
        if trainable != "all":
            self.settings["base"] = base_of(config)

    def run(self) -> None:
        """Validate and train."""
        train_locally(self.client, self.weights, self.settings)


def _config(
    folder: Path, backbone: str, image_size: int, trainable: str, threads: int
) -> ExperimentConfig:
    wanted = parse(
        {
            "backbone": backbone,
            "image-size": image_size,
            "pretrained": False,
            "trainable": trainable,
            "cache-dir": str(folder),
        }
    )
    return resolve(wanted, dataset="ham10000", device="cpu", threads_per_client=threads)
