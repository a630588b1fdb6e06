import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_partition.copies import num_straddling
from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.partition import counts, plan_partition, split_counts, straddling_lesions
from data_partition.splits import split_client, split_patients


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


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "source"])
def test_copies_stay_together_by_lesion_and_only_then(partition: str) -> None:
    """Each lesion's first image is a copy of the next lesion's; pairs of lesions are one."""
    rows = make_rows(300)
    first = np.arange(0, 300, 2)
    rows["pixels_sha256"] = [f"own {i}" for i in range(300)]
    rows.loc[first, "pixels_sha256"] = [f"copied {i // 4}" for i in first]
    plan = make_plan(rows, partition=partition, split_by="lesion", seed=3)
    places = (plan["client"] + " " + plan["split"]).tolist()
    assert num_straddling(rows, places) == 0
    assert straddling_lesions(plan) == 0
    # The study's split knows neither lesions nor copies.
    by_image = make_plan(rows, partition=partition, seed=3)
    without = make_plan(rows.drop(columns="pixels_sha256"), partition=partition, seed=3)
    pd.testing.assert_frame_equal(by_image, without)
    assert num_straddling(rows, (by_image["client"] + " " + by_image["split"]).tolist()) > 0


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
        make_plan(rows, partition="source", sources=find_dataset("ham10000").sources)
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


def make_slices(num_patients: int = 40, slices: int = 3) -> pd.DataFrame:
    """Slices of patients at three sites, every fourth patient's tumour of low grade."""
    patients = [i // slices for i in range(num_patients * slices)]
    return pd.DataFrame(
        {
            "image_id": [f"P{i // slices:03d}-{i % slices}" for i in range(len(patients))],
            "label": ["LGG" if patient % 4 == 0 else "HGG" for patient in patients],
            "lesion_id": [f"P{patient:03d}" for patient in patients],
            "source": [f"site {patient % 3}" for patient in patients],
        }
    )


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "source"])
def test_patients_straddle_nothing(partition: str) -> None:
    """Whatever split-by says; and the test patients are nobody's."""
    rows = make_slices()
    plan = make_plan(
        rows, partition=partition, dirichlet_alpha=9, grouped_by="patient", sliced=True
    )
    held_back = set(rows["lesion_id"][split_patients(rows, seed=0) == "test"])
    # Of 30 and 10 patients 30 - 21 - 3 = 6 and 10 - 7 - 1 = 2 are for test.
    assert len(held_back) == 8
    assert set(plan["lesion_id"]) == set(rows["lesion_id"]) - held_back
    assert (plan.groupby("lesion_id")[["client", "split"]].nunique() == 1).all(axis=None)
    assert straddling_lesions(plan) == 0
    if partition == "source":
        assert (plan.groupby("client")["source"].nunique() == 1).all()


def test_slices_of_unknown_patients_are_dealt_singly() -> None:
    rows = make_slices().assign(lesion_id=None, source=None, split="train")
    rows.loc[:19, "split"] = "test"
    plan = make_plan(rows, grouped_by="patient", sliced=True)
    assert plan["image_id"].tolist() == rows["image_id"].tolist()[20:]
    # 100 slices: 34, 33 and 33.
    assert counts(plan).sum(axis=1).tolist() == [34, 33, 33]
    with pytest.raises(DataError, match=r"partition = source needs the site .*BraTS19_<site>"):
        make_plan(rows, partition="source", sliced=True, sources=find_dataset("brats2019").sources)


def test_more_clients_than_patients() -> None:
    # Eight of 40 are for test.
    with pytest.raises(DataError, match="33 clients are more than the 32 patients"):
        make_plan(make_slices(), clients=33, grouped_by="patient", sliced=True)
