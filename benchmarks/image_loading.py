"""Time of a training batch from the image store, compared with JPEG files; and of building it.

Both sides of a batch do the study's training preprocessing in one process, with the same number of
torch threads: 600x450 JPEGs, resized to 256x256, cropped at random to 224x224, flipped with
probability one half, normalised, in batches of 32. The JPEG side does it as a script does with
Pillow and torchvision's transforms; the store's side as a client does. The files were just written,
so neither waits for a disk. The sides alternate batch by batch over the same shuffled images.

Building the store, once for all runs, is compared with libjpeg-turbo, which only decodes the same
files, with as many threads: torchvision's ``decode_jpeg``, whose pixels are the same to the bit.
The store also resizes, hashes and writes them. The files have quality 100 without subsampling,
229 KB each, since HAM10000's have 270 KB.
"""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision import transforms
from torchvision.io import decode_jpeg, read_file

from benchmarks.result import Result, ratio
from benchmarks.timing import interleaved, torch_threads
from data_partition.batches import training_batch
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.image_store import ImageStore, open_store, store_side
from data_partition.image_table import ImageTable
from data_partition.synthetic_lesion import draw_lesion

FILES, STORE = "JPEG files", "image store"
BUILT, DECODED = "store built", "libjpeg-turbo"
MOST_OF_TURBO = 1.2
IMAGE_SIZE = 224
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


def measure(
    repeats: int = 8, *, num_images: int = 128, batch_size: int = 32, num_threads: int = 1
) -> list[Result]:
    """Time both sides over the same images, alternating every batch.

    Args:
        repeats: epochs of each side, after one of each to warm up caches and allocators.
        num_images: a multiple of ``batch_size``.
        batch_size: B.
        num_threads: number of torch threads, for both.
    """
    with tempfile.TemporaryDirectory() as name, torch_threads(num_threads):
        folder = Path(name)
        table = _write_images(folder, num_images)
        paths = table.rows["path"].tolist()
        building = _building(folder, table, repeats)
        store = _build(folder / "cache", table)
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

        samples: dict[str, list[float]] = {FILES: [], STORE: []}
        shuffle = np.random.default_rng(0)
        for epoch in range(repeats + 1):
            for indices in shuffle.permutation(num_images).reshape(-1, batch_size):
                sides = {FILES: partial(files_batch, indices), STORE: partial(store_batch, indices)}
                for side, seconds in interleaved(sides, repeats=1, warm_up=0).items():
                    samples[side] += seconds if epoch else []
    return [
        Result(
            name="image-store",
            compares="A training batch from the JPEG files with torchvision's transforms over one "
            "from the image store.",
            value=ratio(FILES, STORE, samples),
            unit="x",
            samples=samples,
            details={
                "images": num_images,
                "batch size": batch_size,
                "image size": IMAGE_SIZE,
                "torch threads": num_threads,
            },
        ),
        building,
    ]


def _building(folder: Path, table: ImageTable, repeats: int) -> Result:
    paths = table.rows["path"].tolist()
    caches = (folder / f"built-{number}" for number in range(repeats + 1))
    samples = interleaved(
        {BUILT: lambda: _build(next(caches), table), DECODED: lambda: _decode(paths)}, repeats
    )
    return Result(
        name="image-store-build",
        compares="Building the image store over libjpeg-turbo's decoding of the same files, with "
        "as many threads. A store also needs each image resized, hashed and written.",
        value=ratio(BUILT, DECODED, samples),
        unit="x",
        samples=samples,
        at_most=MOST_OF_TURBO,
        details={
            "images": len(paths),
            "pixels": "600 x 450",
            "kilobytes of an image": sum(Path(path).stat().st_size for path in paths)
            / len(paths)
            / 1000,
        },
    )


def _build(cache: Path, table: ImageTable) -> ImageStore:
    return open_store(table, side=store_side(IMAGE_SIZE), cache_dir=cache)


def _decode(paths: Sequence[str]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda path: decode_jpeg(read_file(path)), paths):
            pass


def _write_images(folder: Path, num_images: int) -> ImageTable:
    rows = []
    for index in range(num_images):
        label = HAM10000_CLASSES[index % len(HAM10000_CLASSES)]
        pixels = draw_lesion(
            label,
            lesion=np.random.default_rng([index, 0]),
            view=np.random.default_rng([index, 1]),
            width=600,
            height=450,
        )
        path = folder / f"{index:03d}.jpg"
        Image.fromarray(pixels).save(path, quality=100, subsampling=0)
        rows.append({"image_id": path.stem, "path": str(path), "member": "", "label": label})
    table = pd.DataFrame(rows).assign(lesion_id=None, source=None)
    return ImageTable(rows=table, classes=HAM10000_CLASSES, layout="benchmark", set_aside={})
