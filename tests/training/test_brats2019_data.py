"""BraTS2019 in an experiment: no patient is in two splits or clients, whatever is asked for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.splits import SPLITS
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.experiment_data import open_central_data, open_federated_data, open_test_data
from training.release import recognise_dataset
from training.split import Split


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "partition, clients", [("iid", 3), ("iid", 5), ("dirichlet", 3), ("source", 4)]
)
def test_every_patient_has_one_place(
    brats: ExperimentConfig, partition: str, clients: int, seed: int
) -> None:
    """A client's split, or the global test set, with all the patient's slices.

    Of 37 and 11 patients ⌊0.7 n⌋ + ⌊0.1 n⌋ are 25 + 3 and 7 + 1, which leaves 9 + 3 for the test.
    """
    wanted = brats.replace(partition=partition, clients=clients, dirichlet_alpha=2.0, seed=seed)
    plan, test_data = open_federated_data(wanted).plan, open_test_data(wanted)
    assert test_data is not None
    places = plan["client"].fillna("everyone") + ", " + plan["split"].fillna("global test")
    assert (places.groupby(plan["lesion_id"]).nunique() == 1).all()
    assert len(plan) == 2 * plan["lesion_id"].nunique() == 96

    for_everyone = plan["client"].isna()
    assert set(plan["client"][~for_everyone]) == {f"client-{index}" for index in range(clients)}
    tested = set(plan["lesion_id"][for_everyone])
    assert len(tested) == 12
    assert set(test_data.rows["image_id"]) == set(plan["image_id"][for_everyone])

    central = open_central_data(wanted)
    of_split = central.store.rows["lesion_id"].groupby(central.split_names).agg(set)
    assert of_split["test"] == tested
    assert [len(of_split[name]) for name in ("train", "validation")] == [32, 4]
    assert not of_split["train"] & of_split["validation"]


def patients_of(split: Split) -> set[int]:
    assert split.patients is not None
    return set(split.patients[split.indices])


def test_patients_are_numbered_in_the_stores_order(brats: ExperimentConfig) -> None:
    """Their numbers tell them apart as their names do."""
    data = open_federated_data(brats)
    assert data.plan["image_id"].tolist() == data.store.rows["image_id"].tolist()
    names = data.store.rows["lesion_id"]
    numbers = data.split("client-0", "train").patients
    assert numbers is not None
    assert pd.Series(numbers).groupby(names).nunique().eq(1).all()
    assert len(set(numbers)) == names.nunique() == 48


def test_splits_hold_the_patients_of_the_plan(brats: ExperimentConfig) -> None:
    """Of 48 patients 12 are for the test, see above."""
    data, test_data = open_federated_data(brats), open_test_data(brats)
    assert test_data is not None
    parts = [
        patients_of(data.split(f"client-{client}", name)) for client in range(3) for name in SPLITS
    ]
    parts.append(patients_of(test_data.split))
    assert len(parts[-1]) == 12
    assert sum(map(len, parts)) == len(set.union(*parts)) == 48
    central = open_central_data(brats)
    parts[:-1] = [patients_of(central.split(name)) for name in ("train", "validation")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 48


def test_the_test_set_is_a_part_of_the_store(brats: ExperimentConfig) -> None:
    test_data = open_test_data(brats)
    assert test_data is not None
    assert test_data.classes == ("HGG", "LGG")
    labels = test_data.split.labels[test_data.split.indices]
    assert [test_data.classes[label] for label in labels] == list(test_data.rows["label"])
    assert test_data.fingerprint == open_central_data(brats).store.fingerprint
    assert test_data.set_aside == {}


def test_another_seed_has_other_test_patients(brats: ExperimentConfig) -> None:
    first, second = open_test_data(brats), open_test_data(brats.replace(seed=1))
    assert first is not None
    assert second is not None
    assert patients_of(first.split) != patients_of(second.split)


def test_a_client_for_each_site(brats: ExperimentConfig) -> None:
    data = open_federated_data(brats.replace(partition="source", clients=4))
    dealt = data.plan.dropna(subset="client")
    assert (dealt.groupby("client")["source"].nunique() == 1).all()
    with pytest.raises(DataError, match=r"4 sources .* but clients = 3"):
        open_federated_data(brats.replace(partition="source"))


def test_modalities_and_slices_reach_the_store(brats: ExperimentConfig) -> None:
    first = open_federated_data(brats).store
    other = open_federated_data(brats.replace(modalities="flair,t2,t1ce")).store
    assert np.array_equal(first.images[..., ::-1], other.images)
    more = open_federated_data(brats.replace(slices_per_patient=3)).store
    assert len(more.labels) == 48 * 3


def test_a_test_folder_beside_brats_is_refused(brats: ExperimentConfig, tmp_path: Path) -> None:
    wrong = brats.replace(test_dir=str(tmp_path))
    for use in (recognise_dataset, open_federated_data, open_central_data, open_test_data):
        with pytest.raises(ConfigError, match=r"^test-dir = .*; leave test-dir empty$"):
            use(wrong)
