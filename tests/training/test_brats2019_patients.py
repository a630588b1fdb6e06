"""No patient is in two splits or clients, whatever the seed and the partition."""

from pathlib import Path

import pytest

from tests.support import make_config
from training.config import ExperimentConfig
from training.experiment_data import open_central_data, open_federated_data, open_test_data


@pytest.fixture(scope="module")
def config(synthetic_brats: Path, tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """48 patients with two slices each; the store is built by the first test."""
    cache = tmp_path_factory.mktemp("cache")
    small = make_config(slices_per_patient=2, data_dir=str(synthetic_brats), cache_dir=str(cache))
    return small.replace(dataset="brats2019")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "partition, clients", [("iid", 3), ("iid", 5), ("dirichlet", 3), ("source", 4)]
)
def test_every_patient_has_one_place(
    config: ExperimentConfig, partition: str, clients: int, seed: int
) -> None:
    """A client's split, or the global test set, with all the patient's slices.

    Of 37 and 11 patients ⌊0.7 n⌋ + ⌊0.1 n⌋ are 25 + 3 and 7 + 1, which leaves 9 + 3 for the test.
    """
    wanted = config.replace(partition=partition, clients=clients, dirichlet_alpha=2.0, seed=seed)
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
