"""A synthetic data set in HAM10000's layout, to try the system without images of patients."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.synthetic_folder import in_parallel, new_folder
from data_partition.synthetic_lesion import draw_lesion
from data_partition.truth_file import as_one_hot

TRAINING_COUNTS = {
    "nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115,
}  # fmt: skip
TEST_COUNTS = {
    "nv": 909, "bkl": 217, "mel": 171, "bcc": 93, "df": 44, "akiec": 43, "vasc": 35,
}  # fmt: skip

# Sources of nevi and of the other classes: nearly all images of vidir_molemax are nevi.
SOURCES = ("rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias")
NEVUS_SOURCES = np.array([803, 1832, 3717, 353]) / 6705
OTHER_SOURCES = np.array([1456, 1531, 237, 86]) / 3310

LOCALIZATIONS = ("abdomen", "back", "chest", "face", "lower extremity", "upper extremity", "trunk")
FIRST_ID = 9_000_001
LEAST_IMAGES = 14
LEAST_PER_CLASS, LEAST_PER_TEST_CLASS = 12, 10

ABOUT_LESIONS = """\
Every image in this folder was drawn by a program (fedskin data synth). No patient, no camera and no
physician was involved. The "lesions" only look different enough for a network to tell them apart,
so that a federated training can be tried and tested. They say nothing about real skin, and results
on them say nothing about real use.

"""
README = f"""{ABOUT_LESIONS}\
The folder is laid out like HAM10000 and the ISIC 2018 challenge's test set, with the same
columns and class names, but the images are 200x150 pixels where the real ones are 600x450.
Ids, ages, sexes and localizations are invented.
"""


def write_ham10000(directory: Path, images: int = 600, seed: int = 0) -> None:
    """Write a training set in HAM10000's Dataverse layout, and a test set in the challenge's.

    The training set has HAM10000's class proportions, but at least one image of each class, and at
    least 12 if ``images`` is 168 or more. About a quarter of its lesions have two or three images.
    The test set has the challenge's proportions, but at least ten images of each class, and
    ``images`` // 3 images in total (at least 70). A seed always gives the same bytes. The folder is
    written completely or not at all.

    Args:
        directory: the folder to write; it may exist if it is empty.
        images: number of training images, at least 14.

    Raises:
        DataError: ``directory`` is not empty or cannot be written, or ``images`` or ``seed`` is too
            small.
    """
    if images < LEAST_IMAGES:
        raise DataError(f"{images} images are too few for seven classes; ask for {LEAST_IMAGES}")
    with new_folder(directory, README, seed=seed) as building:
        _write_training(building, images, seed)
        _write_test(building, FIRST_ID + images, max(images // 3, 70), seed)


def _write_training(directory: Path, num_images: int, seed: int) -> None:
    generator = np.random.default_rng([seed, 0])
    least = min(LEAST_PER_CLASS, num_images // LEAST_IMAGES)
    counts = class_counts(TRAINING_COUNTS, num_images, least)
    rows = [row for label in HAM10000_CLASSES for row in _lesions(label, counts[label], generator)]
    order = generator.permutation(num_images)
    table = pd.DataFrame([rows[index] for index in order])
    lesion_numbers, _ = pd.factorize(table["lesion"])
    table["lesion_id"] = [f"HAM_{FIRST_ID + number:07d}" for number in lesion_numbers]
    table["image_id"] = _image_ids(FIRST_ID, num_images)
    # The real table lacks 57 of 10,015 ages.
    without_age = generator.choice(num_images, size=max(2, num_images // 175), replace=False)
    table.loc[without_age, "age"] = np.nan

    folders = [directory / f"HAM10000_images_part_{part}" for part in (1, 2)]
    for folder in folders:
        folder.mkdir()
    draw_photographs(
        [
            folders[index >= num_images // 2] / f"{image_id}.jpg"
            for index, image_id in enumerate(table["image_id"])
        ],
        table["dx"].tolist(),
        lesion_numbers.tolist(),
        lesion_seed=[seed, 1],
        view_seed=[seed, 2],
    )
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
    table[columns].to_csv(directory / "HAM10000_metadata.csv", index=False)


def _write_test(directory: Path, first_id: int, num_images: int, seed: int) -> None:
    generator = np.random.default_rng([seed, 3])
    counts = class_counts(TEST_COUNTS, num_images, LEAST_PER_TEST_CLASS)
    labels = generator.permutation(
        [label for label in HAM10000_CLASSES for _ in range(counts[label])]
    ).tolist()
    image_ids = _image_ids(first_id, num_images)
    folder = directory / "ISIC2018_Task3_Test_Input"
    folder.mkdir()
    draw_photographs(
        [folder / f"{image_id}.jpg" for image_id in image_ids],
        labels,
        range(num_images),
        lesion_seed=[seed, 4],
        view_seed=[seed, 5],
    )
    truth = as_one_hot(pd.DataFrame({"image_id": image_ids, "label": labels}))
    truth.to_csv(directory / "ISIC2018_Task3_Test_GroundTruth.csv", index=False)


def class_counts(proportions: dict[str, int], total: int, least: int) -> dict[str, int]:
    """Return numbers of images per class that sum to ``total``.

    Every class has at least ``least`` images, for which ``total`` must be large enough. The most
    frequent class absorbs the rounding.
    """
    scale = total / sum(proportions.values())
    counts = {label: max(least, round(scale * n)) for label, n in proportions.items()}
    largest = max(proportions, key=lambda label: proportions[label])
    counts[largest] += total - sum(counts.values())
    return counts


def draw_photographs(
    paths: Sequence[Path],
    labels: Sequence[str],
    lesions: Sequence[int],
    *,
    lesion_seed: list[int],
    view_seed: list[int],
) -> None:
    """Draw the image of each file, on all cores: its class, and the number of its lesion."""

    def draw(index: int) -> None:
        pixels = draw_lesion(
            labels[index],
            lesion=np.random.default_rng([*lesion_seed, lesions[index]]),
            view=np.random.default_rng([*view_seed, index]),
        )
        Image.fromarray(pixels).save(paths[index], "JPEG", quality=90)

    in_parallel(draw, len(paths))


def _lesions(label: str, num_images: int, generator: np.random.Generator) -> list[dict]:
    """Return the metadata rows of one class; the rows of a lesion differ only in the image."""
    rows: list[dict] = []
    nevus = label == "nv"
    while len(rows) < num_images:
        lesion = {
            "lesion": f"{label}-{len(rows)}",
            "dx": label,
            "dx_type": generator.choice(["follow_up", "histo", "consensus"]) if nevus else "histo",
            "age": float(generator.integers(4, 18) * 5),
            "sex": generator.choice(["male", "female"]),
            "localization": generator.choice(LOCALIZATIONS),
            "dataset": generator.choice(SOURCES, p=NEVUS_SOURCES if nevus else OTHER_SOURCES),
        }
        # HAM10000: 26 % of the lesions have several images, 2.3 on average.
        num_views = generator.choice([1, 2, 3], p=[0.74, 0.18, 0.08])
        rows += [lesion] * min(num_views, num_images - len(rows))
    return rows


def _image_ids(first: int, count: int) -> list[str]:
    return [f"ISIC_{number:07d}" for number in range(first, first + count)]
