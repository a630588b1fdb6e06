import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.image_table import HAM10000_CLASSES
from data_partition.partition import (
    counts,
    plan_partition,
    split_client,
    split_counts,
    straddling_lesions,
)


def make_rows(num_images: int, images_per_lesion: int = 2, num_sources: int = 3) -> pd.DataFrame:
    """Images whose class, lesion and source follow from their number."""
    lesions = [i // images_per_lesion for i in range(num_images)]
    return pd.DataFrame(
        {
            "image_id": [f"ISIC_{i:05d}" for i in range(num_images)],
            "label": [HAM10000_CLASSES[lesion % 7] for lesion in lesions],
            "lesion_id": [f"HAM_{lesion:05d}" for lesion in lesions],
            "source": [f"clinic {chr(97 + lesion % num_sources)}" for lesion in lesions],
        }
    )


def make_plan(rows: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    settings: dict[str, Any] = {
        "partition": "iid",
        "clients": 3,
        "dirichlet_alpha": 0.5,
        "split_by": "image",
        "seed": 0,
    }
    return plan_partition(rows, **{**settings, **changes})


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


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "source"])
@pytest.mark.parametrize("split_by", ["image", "lesion"])
def test_plan(partition: str, split_by: str) -> None:
    rows = make_rows(300)
    # A seed with which Dirichlet's draw serves all three clients.
    plan = make_plan(rows, partition=partition, split_by=split_by, seed=3)
    columns = ["image_id", "label", "lesion_id", "client", "split", "source"]
    assert list(plan.columns) == columns
    kept = ["image_id", "label", "lesion_id", "source"]
    pd.testing.assert_frame_equal(plan[kept], rows[kept])
    assert set(plan["client"]) == {"client-0", "client-1", "client-2"}

    reordered = make_plan(
        rows.sample(frac=1.0, random_state=5), partition=partition, split_by=split_by, seed=3
    )
    pd.testing.assert_frame_equal(plan, reordered)
    another = make_plan(rows, partition=partition, split_by=split_by, seed=4)
    assert plan["split"].tolist() != another["split"].tolist()

    # Each client's split is what the client finds by itself.
    for index in range(3):
        part = plan[plan["client"] == f"client-{index}"]
        split = split_client(
            part["image_id"].tolist(),
            part["lesion_id"].tolist(),
            seed=3,
            client_index=index,
            split_by=split_by,  # type: ignore[arg-type]
        )
        assert part["split"].tolist() == split.tolist()
    if split_by == "lesion":
        assert (plan.groupby("lesion_id")[["client", "split"]].nunique() == 1).all(axis=None)
        assert straddling_lesions(plan) == 0


def test_iid_parts_are_equal_and_random() -> None:
    plan = make_plan(make_rows(100))
    # 100 = 34 + 33 + 33
    assert counts(plan).sum(axis=1).tolist() == [34, 33, 33]
    # Cut in order, the first client would hold the images 0 … 33 only.
    assert plan.loc[plan["client"] == "client-0", "image_id"].max() > "ISIC_00090"
    other = make_plan(make_rows(100), seed=1)
    assert plan["client"].tolist() != other["client"].tolist()


def test_lesions_of_unknown_id_are_dealt_singly() -> None:
    rows = make_rows(12, images_per_lesion=3)
    rows.loc[6:, "lesion_id"] = None
    # 2 lesions and 6 single images are 8 units: 9 clients are too many, 8 too few images each.
    with pytest.raises(DataError, match="9 clients are more than the 8 lesions"):
        make_plan(rows, split_by="lesion", clients=9)
    plan = make_plan(rows, split_by="lesion", clients=1)
    assert straddling_lesions(plan) == 0


def test_dirichlet_alpha_is_the_skew() -> None:
    rows = make_rows(2100)

    def skew(alpha: float) -> float:
        shares = counts(make_plan(rows, partition="dirichlet", dirichlet_alpha=alpha))
        return float((shares / shares.sum()).to_numpy().std())

    # A share of each of 3 clients has the variance (1/3)(2/3)/(3α + 1): a standard deviation of
    # 0.005 at α = 3000, of 0.41 at α = 0.1.
    assert skew(3000.0) < 0.02
    assert skew(0.1) > 0.2


def test_dirichlet_keeps_absent_classes_in_the_counts() -> None:
    plan = make_plan(make_rows(2100), partition="dirichlet", dirichlet_alpha=0.05, seed=1)
    table = counts(plan)
    assert list(table.columns) == sorted(HAM10000_CLASSES)
    assert (table == 0).any(axis=None)
    assert (table.sum() == 300).all()  # 2100 images, 7 classes


def test_dirichlet_that_leaves_a_client_empty() -> None:
    complaint = r"dirichlet-alpha = 0\.001 .*20 clients"
    rows = make_rows(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=complaint):
            make_plan(rows, partition="dirichlet", dirichlet_alpha=0.001, clients=20)


def test_source_clients_in_order_of_name() -> None:
    rows = make_rows(90).sample(frac=1.0, random_state=0)
    plan = make_plan(rows, partition="source")
    pairs = set(zip(plan["client"], plan["source"], strict=True))
    assert pairs == {("client-0", "clinic a"), ("client-1", "clinic b"), ("client-2", "clinic c")}


def test_a_lesion_of_two_sources_stays_whole() -> None:
    rows = make_rows(90)
    rows.loc[1, "source"] = "clinic b"  # the second image of lesion HAM_00000, clinic a's
    plan = make_plan(rows, partition="source", split_by="lesion")
    assert plan.loc[[0, 1], "client"].tolist() == ["client-0", "client-0"]


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"clients": 41}, "41 clients are more than the 40 images"),
        ({"clients": 21, "split_by": "lesion"}, "21 clients are more than the 20 lesions"),
        ({"partition": "source", "clients": 2}, "3 sources .* but clients = 2"),
        ({"partition": "source", "clients": 4}, "3 sources .* but clients = 4"),
        # 40 = 20 · 2, and of two images one is for training.
        ({"clients": 20}, "client-0 would have 1 training images"),
    ],
)
def test_impossible_plans(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        make_plan(make_rows(40), **changes)


def test_what_the_metadata_does_not_know() -> None:
    rows = make_rows(40)
    rows["lesion_id"] = None
    with pytest.raises(DataError, match="split-by = lesion needs lesion ids"):
        make_plan(rows, split_by="lesion")
    rows.loc[0, "source"] = None
    with pytest.raises(DataError, match=r"partition = source needs .* dataset"):
        make_plan(rows, partition="source")
    assert straddling_lesions(make_plan(rows)) == 0


def test_straddling_lesions() -> None:
    plan = pd.DataFrame(
        [
            ("A", "client-0", "train"),
            ("A", "client-1", "test"),  # across clients: the global model has seen A
            ("B", "client-0", "train"),
            ("B", "client-0", "validation"),  # not judged on
            ("C", "client-1", "train"),
            ("C", "client-1", "test"),
            ("D", "client-1", "test"),
            (None, "client-0", "train"),
            (None, "client-0", "test"),  # unknown lesions are not one lesion
        ],
        columns=["lesion_id", "client", "split"],
    )
    assert straddling_lesions(plan) == 2  # A and C


def test_counts_have_every_client_and_split() -> None:
    plan = make_plan(make_rows(66), clients=11)
    table = counts(plan)
    assert list(table.index) == [f"client-{i}" for i in range(11)]  # 10 after 9
    # 6 images each: (36 + 5)//10 = 4, (48 + 5)//10 = 5
    per_split = split_counts(plan).sum(axis=1)
    assert per_split.loc["client-10"].to_dict() == {"train": 4, "validation": 1, "test": 1}
    pd.testing.assert_frame_equal(
        split_counts(plan).groupby(level="client", sort=False).sum(), table
    )
    # Three images fill two splits; the third stands there with zeros.
    three = split_counts(make_plan(make_rows(3), clients=1)).sum(axis=1)
    assert three.loc["client-0"].to_dict() == {"train": 2, "validation": 0, "test": 1}


def test_splitting_does_not_import_flower_datasets() -> None:
    code = (
        "import sys; from data_partition.partition import split_client; "
        "split_client(['a', 'b'], [None, None], seed=0, client_index=0, split_by='image'); "
        "assert not {'flwr_datasets', 'datasets', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
