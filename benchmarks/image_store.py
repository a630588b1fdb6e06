"""How much faster a training batch comes from the image store than from the JPEG files.

Both ways do the study's training preprocessing, in one process, with the same number of torch
threads: 600x450 JPEGs, resized to 256x256, cropped at random to 224x224, flipped half of the
time, normalised, in batches of 32.

Run it with ``python benchmarks/image_store.py``.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision import transforms

from data_partition.batches import training_batch
from data_partition.image_store import open_store, store_side
from data_partition.image_table import HAM10000_CLASSES, ImageTable
from data_partition.synthetic_lesion import draw_lesion

NUM_IMAGES, BATCH, IMAGE_SIZE = 128, 32, 224
REPETITIONS = 9
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

from_files = transforms.Compose(
    [
        transforms.Resize((256, 256)),
        transforms.RandomCrop(IMAGE_SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)


def measure(num_threads: int = 1) -> dict[str, Any]:
    """Time both ways over the same images.

    Args:
        num_threads: torch's threads, for both.

    Returns:
        ``files_ms`` and ``store_ms``, medians per batch of 32; ``ratio`` of the two;
        ``build_s``, the seconds that building the store of 128 images took; ``threads``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return {**_measure(Path(folder)), "threads": num_threads}
    finally:
        torch.set_num_threads(before)


def _measure(folder: Path) -> dict[str, Any]:
    table = _write_images(folder)
    paths = table.rows["path"].tolist()
    start = time.perf_counter()
    store = open_store(table, side=store_side(IMAGE_SIZE), cache_dir=folder / "cache")
    build_s = time.perf_counter() - start
    generator = torch.Generator().manual_seed(0)

    def files_batch(indices: np.ndarray) -> torch.Tensor:
        return torch.stack([from_files(Image.open(paths[i]).convert("RGB")) for i in indices])

    def store_batch(indices: np.ndarray) -> torch.Tensor:
        return training_batch(
            torch.from_numpy(store.images[indices]),
            image_size=IMAGE_SIZE,
            mean=MEAN,
            std=STD,
            generator=generator,
        )

    files_ms, store_ms = _median_ms(files_batch), _median_ms(store_batch)
    return {
        "files_ms": round(files_ms, 2),
        "store_ms": round(store_ms, 2),
        "ratio": round(files_ms / store_ms, 1),
        "build_s": round(build_s, 2),
    }


def _median_ms(batch: Callable[[np.ndarray], torch.Tensor]) -> float:
    """Median over shuffled batches; one epoch beforehand warms caches and allocators."""
    shuffle = np.random.default_rng(0)
    seconds = []
    for _ in range(REPETITIONS):
        for indices in shuffle.permutation(NUM_IMAGES).reshape(-1, BATCH):
            start = time.perf_counter()
            batch(indices)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[NUM_IMAGES // BATCH :])


def _write_images(folder: Path) -> ImageTable:
    rows = []
    for index in range(NUM_IMAGES):
        label = HAM10000_CLASSES[index % len(HAM10000_CLASSES)]
        pixels = draw_lesion(
            label,
            lesion=np.random.default_rng([index, 0]),
            view=np.random.default_rng([index, 1]),
            width=600,
            height=450,
        )
        path = folder / f"{index:03d}.jpg"
        Image.fromarray(pixels).save(path, quality=95)
        rows.append({"image_id": path.stem, "path": str(path), "member": "", "label": label})
    table = pd.DataFrame(rows).assign(lesion_id=None, source=None)
    return ImageTable(rows=table, classes=HAM10000_CLASSES, layout="benchmark", set_aside={})


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
