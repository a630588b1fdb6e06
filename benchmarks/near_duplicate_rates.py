"""Share of modified copies that ``fedskin data check --near`` finds, and false alarms.

``python -m benchmarks.near_duplicate_rates DIR`` prints the table of docs/data.md. DIR contains
HAM10000 and optionally the ISIC 2018 test set.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from data_partition.check import check_folder
from data_partition.near_duplicates import MAX_BITS, NearDuplicates

COPIED = 300
SEED = 0

Turn = Image.Transpose


def encoded(image: Image.Image, quality: int = 75) -> Image.Image:
    """Return the image after saving it as JPEG and reading it again."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def part(
    image: Image.Image, width: float, height: float, x: float = 0.5, y: float = 0.5
) -> Image.Image:
    """Crop to fractions of width and height; x and y in [0, 1] give the position, 0.5 is the
    centre.
    """
    left, upper = x * image.width * (1 - width), y * image.height * (1 - height)
    box = (left, upper, left + image.width * width, upper + image.height * height)
    return image.crop([round(edge) for edge in box])


def changes(rng: np.random.Generator) -> dict[str, Callable[[Image.Image], Image.Image]]:
    """Return the modifications of an image, by their names in the table."""

    def anywhere(image: Image.Image, size: float) -> Image.Image:
        return part(image, size, size, *rng.random(2))

    def around_centre(image: Image.Image) -> Image.Image:
        return part(image, *[rng.uniform(0.7, 1)] * 2)

    turns = list(Turn)
    return {
        "JPEG quality 75": encoded,
        "JPEG quality 30": lambda image: encoded(image, 30),
        "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
        "turned or mirrored": lambda image: image.transpose(turns[rng.integers(len(turns))]),
        "cropped to 70 to 100 % around the centre": around_centre,
        "cropped to the square of a 4 : 3 picture": lambda image: part(image, 0.75, 1),
        "turned or mirrored, then cropped around the centre": lambda image: around_centre(
            image.transpose(turns[rng.integers(len(turns))])
        ),
        "cropped to 95 % anywhere": lambda image: anywhere(image, 0.95),
        "cropped to 90 % anywhere": lambda image: anywhere(image, 0.9),
        "cropped to 80 % anywhere": lambda image: anywhere(image, 0.8),
    }


def main(folder: Path) -> None:
    """Print the table, and the false alarms by kind."""
    search, images = NearDuplicates(), []

    def look(pixels: np.ndarray) -> None:
        search.add(pixels)
        images.append(Image.fromarray(pixels).resize((128, 128)))

    started = time.perf_counter()
    rows = check_folder(folder, look=look).images
    decoded = time.perf_counter()
    pairs = search.pairs()
    print(f"decoding and hashing {decoded - started:.0f} s, ", end="")
    print(f"comparing {time.perf_counter() - decoded:.0f} s")
    first, second = (rows.iloc[pairs[name]].reset_index() for name in ("first", "second"))
    same = first["lesion_id"].notna() & (first["lesion_id"] == second["lesion_id"])
    wrong = first["label"] != second["label"]
    total = len(rows) * (len(rows) - 1) // 2
    print(f"{len(pairs)} of {total} pairs of {len(rows)} images differ in at most {MAX_BITS} bits:")
    print(f"of one lesion {same.sum()}; of two {(~same).sum()};")
    print(f"of two with contradicting labels {(~same & wrong).sum()}")
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(images), COPIED, replace=False)
    for name, change in changes(rng).items():
        both = NearDuplicates()
        for image in (images[place] for place in chosen):
            for one in (image, encoded(change(image))):
                both.add(np.asarray(one.resize((256, 256), Image.Resampling.BILINEAR)))
        found = both.pairs()
        hits = (found["first"] % 2 == 0) & (found["second"] == found["first"] + 1)
        print(f"| {name} | {100 * hits.sum() / COPIED:.1f} % |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
