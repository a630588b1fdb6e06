"""The splits: how many images each gets, and what stays together."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_partition.dataset_brats2019 import load_brats2019
from data_partition.splits import split_client, split_patients, split_release, together
from tests.data_partition.volumes import study_cases, touch_cases


def make_rows(num_images: int, images_per_lesion: int = 2) -> pd.DataFrame:
    """Images whose lesion follows from their number."""
    return pd.DataFrame(
        {
            "image_id": [f"ISIC_{i:05d}" for i in range(num_images)],
            "lesion_id": [f"HAM_{i // images_per_lesion:05d}" for i in range(num_images)],
        }
    )


def split_sizes(split: np.ndarray) -> tuple[int, ...]:
    return tuple(int(np.sum(split == name)) for name in ("train", "validation", "test"))


@pytest.mark.parametrize(
    "num_images, sizes",
    # ⌊(6n + 5)/10⌋ train; up to ⌊(8n + 5)/10⌋ validation; the rest test.
    [
        (1, (1, 0, 0)),  # 1, 1
        (2, (1, 1, 0)),  # 1, 2
        (3, (2, 0, 1)),  # 2, 2
        (4, (2, 1, 1)),  # 2, 3
        (9, (5, 2, 2)),  # 5, 7
        (10, (6, 2, 2)),  # 6, 8
        (11, (7, 2, 2)),  # 7, 9
        (3338, (2003, 667, 668)),  # 2003, 2670: HAM10000's third client
    ],
)
def test_split_sizes(num_images: int, sizes: tuple[int, ...]) -> None:
    ids = [str(i) for i in range(num_images)]
    split = split_client(ids, [None] * num_images, seed=0, client_index=0, split_by="image")
    assert split_sizes(split) == sizes


def test_split_follows_its_definition() -> None:
    # Written out as a loop: lesions A (3 images), B (2), C (1) and two images of unknown
    # lesion make 5 units and 8 images; b1 = (48 + 5)//10 = 5 and b2 = (64 + 5)//10 = 6.
    lesions = {"i0": "B", "i1": "A", "i2": "A", "i3": None, "i4": "C", "i5": "B", "i6": "A"}
    lesions["i7"] = None
    units = [["i0", "i5"], ["i1", "i2", "i6"], ["i3"], ["i4"], ["i7"]]  # by first image
    for seed in range(5):
        expected, before = {}, 0
        for number in np.random.default_rng([seed, 2, 1]).permutation(5):
            name = "train" if before < 5 else "validation" if before < 6 else "test"
            expected.update(dict.fromkeys(units[number], name))
            before += len(units[number])
        split = split_client(
            list(lesions), list(lesions.values()), seed=seed, client_index=2, split_by="lesion"
        )
        assert dict(zip(lesions, split, strict=True)) == expected


@pytest.mark.parametrize("split_by", ["image", "lesion"])
def test_split_is_aligned_with_rows_in_any_order(split_by: Any) -> None:
    rows = make_rows(50)
    other = rows.sample(frac=1.0, random_state=1)

    def split(frame: pd.DataFrame, seed: int = 0, client_index: int = 0) -> dict[str, str]:
        ids, lesions = frame["image_id"].tolist(), frame["lesion_id"].tolist()
        names = split_client(ids, lesions, seed=seed, client_index=client_index, split_by=split_by)
        return dict(zip(ids, names, strict=True))

    assert split(rows) == split(other)
    assert split(rows) != split(rows, seed=1)
    assert split(rows) != split(rows, client_index=1)


def test_split_by_image_ignores_lesions() -> None:
    ids = make_rows(30)["image_id"].tolist()
    known = make_rows(30)["lesion_id"].tolist()
    one, other = (
        split_client(ids, lesions, seed=0, client_index=0, split_by="image")
        for lesions in (known, [None] * 30)
    )
    assert one.tolist() == other.tolist()


def test_copies_join_lesions() -> None:
    """a and c are one picture of two lesions, so A is B; d copies e, whose lesion is unknown."""
    rows = pd.DataFrame(
        {
            "image_id": list("abcdefg"),
            "lesion_id": ["A", "A", "B", None, None, None, "G"],
            "pixels_sha256": ["p", "q", "p", "r", "r", None, None],
        }
    )
    groups = together(rows)
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4] is not None
    assert groups[5] is None
    assert len({groups[0], groups[3], groups[6]}) == 3
    # Over three lesions, whatever the order: A with B, B with C.
    chain = rows.iloc[[0, 0, 0, 0]].assign(
        lesion_id=["A", "C", "B", "B"], pixels_sha256=["p", "q", "q", "p"]
    )
    assert len(set(together(chain))) == 1


def test_without_copies_the_lesions_alone_decide() -> None:
    rows = make_rows(30).assign(pixels_sha256=[str(i) for i in range(30)])
    assert together(rows) == rows["lesion_id"].tolist()
    # Copies within a lesion change nothing either.
    rows.loc[1, "pixels_sha256"] = "0"
    assert together(rows) == rows["lesion_id"].tolist()


def test_a_patient_under_two_names_is_in_one_split() -> None:
    """Patients 0 and 1, 2 and 3, … are the same: ten of each class, so 7, 1 and 2 of them."""
    rows = pd.DataFrame(
        [
            (f"{grade}{patient}-{k}", grade, f"{grade}{patient}", f"{grade}{patient // 2}-{k}")
            for grade in ("HGG", "LGG")
            for patient in range(20)
            for k in range(2)
        ],
        columns=["image_id", "label", "lesion_id", "pixels_sha256"],
    )
    rows["for"] = split_patients(rows, seed=0)
    assert (rows.groupby("pixels_sha256")["for"].nunique() == 1).all()
    for _, images in rows.groupby("label"):
        # Two names with two slices each.
        assert images["for"].value_counts().to_dict() == {"train": 28, "test": 8, "validation": 4}


def release(rows: pd.DataFrame, seed: int = 0, split_by: Any = "image") -> dict[str, str]:
    ids, lesions = rows["image_id"].tolist(), rows["lesion_id"].tolist()
    return dict(zip(ids, split_release(ids, lesions, seed=seed, split_by=split_by), strict=True))


@pytest.mark.parametrize(
    "num_images, sizes",
    # ⌊(8n + 5)/10⌋ train, the rest validation.
    [
        (2, (2, 0, 0)),  # 2.1
        (3, (2, 1, 0)),  # 2.9
        (10, (8, 2, 0)),
        (10015, (8012, 2003, 0)),  # HAM10000 whole: 8012.5
    ],
)
def test_sizes_of_a_release(num_images: int, sizes: tuple[int, ...]) -> None:
    ids = [str(i) for i in range(num_images)]
    split = split_release(ids, [None] * num_images, seed=0, split_by="image")
    assert split_sizes(split) == sizes


@pytest.mark.parametrize("split_by", ["image", "lesion"])
def test_a_release_is_split_by_seed_and_ids_only(split_by: Any) -> None:
    rows = make_rows(60, images_per_lesion=3)
    split = release(rows, split_by=split_by)
    assert release(rows.sample(frac=1.0, random_state=1), split_by=split_by) == split
    assert release(rows, seed=1, split_by=split_by) != split
    per_lesion = rows.assign(split=rows["image_id"].map(split)).groupby("lesion_id")["split"]
    # 48 images are for training: lesions of three fit, and by image some straddle.
    assert (per_lesion.nunique() == 1).all() == (split_by == "lesion")
    assert list(split.values()).count("train") == 48


def test_a_release_has_a_random_stream_of_its_own() -> None:
    """Its training images are not those that client 0 would train or validate on."""
    rows = make_rows(100)
    ids, lesions = rows["image_id"].tolist(), rows["lesion_id"].tolist()
    client = split_client(ids, lesions, seed=0, client_index=0, split_by="image")
    central = split_release(ids, lesions, seed=0, split_by="image")
    assert (client != "test").tolist() != (central == "train").tolist()


def test_the_studys_split_of_brats2019(tmp_path: Path) -> None:
    """⌊0.7 · 255⌋ = 178, ⌊25.5⌋ = 25, 52 left; ⌊0.7 · 76⌋ = 53, ⌊7.6⌋ = 7, 16 left."""
    rows = load_brats2019(touch_cases(tmp_path, study_cases())).rows
    rows["for"] = split_patients(rows, seed=0)
    assert (rows.groupby("lesion_id")["for"].nunique() == 1).all()
    patients = rows.drop_duplicates("lesion_id")
    table = pd.crosstab(patients["for"], patients["label"])
    assert table.loc["train"].to_dict() == {"HGG": 178, "LGG": 53}
    assert table.loc["validation"].to_dict() == {"HGG": 25, "LGG": 7}
    assert table.loc["test"].to_dict() == {"HGG": 52, "LGG": 16}
    assert table.sum(axis=1).to_dict() == {"train": 231, "validation": 32, "test": 68}


def make_patients(*numbers: int) -> pd.DataFrame:
    """Two slices of each patient, of as many patients of each class."""
    rows = [
        (f"{label}-{patient}-{number}", label, f"{label}-{patient}")
        for label, size in zip("AB", numbers, strict=False)
        for patient in range(size)
        for number in range(2)
    ]
    return pd.DataFrame(rows, columns=["image_id", "label", "lesion_id"])


def test_patients_are_split_by_seed_and_names_only() -> None:
    rows = make_patients(30, 20)
    split = dict(zip(rows["image_id"], split_patients(rows, seed=0), strict=True))
    shuffled = rows.sample(frac=1.0, random_state=1)
    again = dict(zip(shuffled["image_id"], split_patients(shuffled, seed=0), strict=True))
    assert again == split
    assert split_patients(rows, seed=1).tolist() != list(split.values())


@pytest.mark.parametrize(
    "numbers, sizes",
    # By class ⌊7n/10⌋, ⌊n/10⌋ and the rest.
    [
        ((1,), (0, 0, 1)),
        ((9,), (6, 0, 3)),
        ((10,), (7, 1, 2)),
        ((19, 9), (19, 1, 8)),  # 13 + 6, 1 + 0, 5 + 3: not those of 28, 19 + 2 + 7
    ],
)
def test_sizes_by_class(numbers: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    split = split_patients(make_patients(*numbers), seed=0)
    assert split_sizes(split) == tuple(2 * size for size in sizes)


def test_a_split_that_the_data_have_is_kept() -> None:
    rows = make_patients(2).assign(split=["test", "train", "validation", "train"])
    assert split_patients(rows, seed=0).tolist() == ["test", "train", "validation", "train"]


def test_splitting_does_not_import_flower_datasets() -> None:
    code = (
        "import sys; from data_partition.splits import split_client; "
        "split_client(['a', 'b'], [None, None], seed=0, client_index=0, split_by='image'); "
        "assert not {'flwr_datasets', 'datasets', 'torch'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
