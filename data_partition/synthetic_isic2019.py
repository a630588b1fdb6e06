"""A synthetic data set in ISIC 2019's layout, with its six centres."""

from pathlib import Path

import numpy as np
import pandas as pd

from data_partition.errors import DataError
from data_partition.isic2019_tables import CENTRES, ISIC2019_CLASSES
from data_partition.synthetic_folder import new_folder
from data_partition.synthetic_ham10000 import ABOUT_LESIONS, class_counts, draw_photographs
from data_partition.truth_file import as_one_hot

# Images of each class at each centre, and last without a known centre, of the real 25,331.
COUNTS = {
    "ak": (737, 0, 21, 109, 0, 0, 0),
    "bcc": (2809, 2, 211, 296, 0, 5, 0),
    "bkl": (1138, 124, 475, 490, 189, 10, 198),
    "df": (124, 30, 51, 30, 0, 4, 0),
    "mel": (2857, 24, 680, 342, 215, 67, 337),
    "nv": (4206, 3720, 1832, 803, 415, 350, 1549),
    "scc": (431, 0, 11, 186, 0, 0, 0),
    "vasc": (111, 54, 82, 3, 0, 3, 0),
}
LEAST_PER_CLASS = 2
LEAST_IMAGES = 2 * LEAST_PER_CLASS * len(ISIC2019_CLASSES)
_FIRST_ID = 9_100_001
_LOOKS = {"ak": "akiec"}
_TRUTH = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")

README = f"""{ABOUT_LESIONS}\
The folder is laid out like ISIC 2019 with HAM10000's metadata and Fed-ISIC2019's split file, with
the same columns, class names and centres. The images are 200x150 pixels; ids are invented.
"""


def write_isic2019(directory: Path, images: int = 600, seed: int = 0) -> None:
    """Write a training set in ISIC 2019's layout, a test set and a split file.

    Classes are spread over the centres as in the real release, and some images have no centre;
    each class has at least two images. About a quarter of the lesions have two or three. The test
    set has ``images`` // 3. The split file, ``train_test_split.csv``, has Fed-ISIC2019's form: of
    each centre a fifth of the images, at random, is for testing. A seed always gives the same
    bytes. The folder is written completely or not at all.

    Args:
        directory: the folder to write; it may exist if it is empty.
        images: number of training images, at least 32.
        seed: 0 or more.

    Raises:
        DataError: ``directory`` is not empty or cannot be written, or ``images`` or ``seed`` is too
            small.
    """
    if images < LEAST_IMAGES:
        raise DataError(f"{images} images are too few for eight classes; ask for {LEAST_IMAGES}")
    with new_folder(directory, README, seed=seed) as building:
        training = _rows(images, [seed, 10], _FIRST_ID)
        test = _rows(images // 3, [seed, 11], _FIRST_ID + images)
        _write_part(building, "Training", training, [seed, 12])
        _write_part(building, "Test", test, [seed, 13])
        metadata = training.rename(columns={"image_id": "image"})
        metadata = metadata.assign(age_approx="", anatom_site_general="", sex="")
        columns = ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
        metadata[columns].to_csv(building / "ISIC_2019_Training_Metadata.csv", index=False)
        of_ham10000 = training[training["lesion_id"].str.startswith("HAM_", na=False)]
        of_ham10000 = of_ham10000.assign(
            dx=of_ham10000["label"].replace({"ak": "akiec", "scc": "akiec"}),
            dataset=of_ham10000["centre"],
        )
        of_ham10000[["lesion_id", "image_id", "dx", "dataset"]].to_csv(
            building / "HAM10000_metadata.csv", index=False
        )
        _split(training, np.random.default_rng([seed, 14])).to_csv(
            building / "train_test_split.csv", index=False
        )


def _rows(num_images: int, seed: list[int], first_id: int) -> pd.DataFrame:
    """Return columns image_id, label, lesion (a number), centre and lesion_id, in random order."""
    generator = np.random.default_rng(seed)
    totals = {label: sum(numbers) for label, numbers in COUNTS.items()}
    counts = class_counts(totals, num_images, LEAST_PER_CLASS)
    rows: list[tuple[str, int, str | None]] = []
    lesion = 0
    for label, wanted in counts.items():
        shares = np.array(COUNTS[label]) / totals[label]
        while wanted:
            views = min(wanted, int(generator.choice([1, 2, 3], p=[0.74, 0.18, 0.08])))
            centre = int(generator.choice(len(shares), p=shares))
            rows += [(label, lesion, (*CENTRES, None)[centre])] * views
            lesion, wanted = lesion + 1, wanted - views
    order = generator.permutation(len(rows))
    table = pd.DataFrame([rows[index] for index in order], columns=["label", "lesion", "centre"])
    msk = table["centre"] == "MSK"
    table["image_id"] = [
        f"ISIC_{first_id + index}{'_downsampled' if of_msk else ''}"
        for index, of_msk in enumerate(msk)
    ]
    prefixes = {"BCN": "BCN_", "MSK": "MSK4_"}
    table["lesion_id"] = [
        None if centre is None else f"{prefixes.get(centre, 'HAM_')}{first_id + number:07d}"
        for centre, number in zip(table["centre"], table["lesion"], strict=True)
    ]
    return table


def _write_part(directory: Path, part: str, table: pd.DataFrame, seed: list[int]) -> None:
    folder = directory / f"ISIC_2019_{part}_Input"
    folder.mkdir()
    draw_photographs(
        [folder / f"{name}.jpg" for name in table["image_id"]],
        table["label"].replace(_LOOKS).tolist(),
        table["lesion"].tolist(),
        lesion_seed=[*seed, 0],
        view_seed=[*seed, 1],
    )
    truth = as_one_hot(table, _TRUTH)
    truth.to_csv(directory / f"ISIC_2019_{part}_GroundTruth.csv", index=False)


def _split(training: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    known = training[training["centre"].notna()].reset_index(drop=True)
    fold = np.full(len(known), "train", dtype=object)
    for name in CENTRES:
        held = generator.permutation(np.flatnonzero(known["centre"] == name))
        fold[held[: (2 * len(held) + 5) // 10]] = "test"
    centre = known["centre"].map(CENTRES.index)
    target = known["label"].map([name.lower() for name in _TRUTH].index)
    return as_one_hot(known, _TRUTH).assign(
        target=target, center=centre, fold=fold, fold2=fold + ("_" + centre.astype(str)).to_numpy()
    )
