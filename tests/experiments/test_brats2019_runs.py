"""Brain scans from volumes to figures: by slice, by patient, in one place and over hospitals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_partition.brats2019_volumes import BRATS2019_CLASSES
from tests.runs import fedskin, read_json, tiny_options
from training.metrics import METRIC_NAMES, confusion_matrix, metrics

pytestmark = pytest.mark.slow

CLASSES = list(BRATS2019_CLASSES)

FEDERATIONS: dict[str, dict[str, Any]] = {
    "classifier, equal clients": {"objective": "classifier", "partition": "iid"},
    "clip, a client per site": {"objective": "clip", "partition": "source", "clients": 4},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs and their cache are."""
    return tmp_path_factory.mktemp("brats-runs")


def run(command: str, data: Path, here: Path, name: str, **changes: Any) -> Path:
    """Run two slices of each of 48 patients for two rounds or epochs; return the run folder."""
    options = tiny_options(
        data, here / "cache", slices_per_patient=2, rounds=2, epochs=2, **changes
    )
    result = fedskin(command, *options, "--out", name, cwd=here)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "by patient" in result.stdout
    return here / name


@pytest.fixture(scope="module")
def central(synthetic_brats: Path, here: Path) -> Path:
    return run("clip", synthetic_brats, here, "central")


@pytest.fixture(scope="module", params=FEDERATIONS)
def federated(request: pytest.FixtureRequest, synthetic_brats: Path, here: Path) -> Path:
    return run("simulate", synthetic_brats, here, request.param, **FEDERATIONS[request.param])


def validations(out: Path) -> list[dict[str, Any]]:
    lines = (out / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line)["validation"] for line in lines]


def assert_figures(block: dict[str, Any], patients: int | None = None) -> None:
    """A block's figures are those of its counts, by slice and by patient, of two slices each."""
    for part in (block, block["patients"]):
        confusion = np.array(part["confusion"])
        assert part["n"] == confusion.sum()
        assert {name: part[name] for name in METRIC_NAMES} == metrics(confusion)
    assert block["n"] == 2 * block["patients"]["n"]
    assert patients is None or block["patients"]["n"] == patients


def assert_told_by_predictions(out: Path) -> None:
    """From the table alone: the most probable class, by patient of the mean probabilities.

    The 12 test patients are 37 - 25 - 3 of high grade and 11 - 7 - 1 of low.
    """
    final = read_json(out / "metrics.json")
    for name, block in (("", final["global_test"]), ("last_", final["last"]["global_test"])):
        slices = pd.read_csv(out / f"predictions-{name}global_test.csv")
        assert list(slices) == ["image_id", "label", "patient_id", *CLASSES]
        slices[CLASSES] = slices[CLASSES].astype(np.float32).astype(np.float64)
        means = {"label": "first", **dict.fromkeys(CLASSES, "mean")}
        patients = slices.groupby("patient_id").agg(means)
        assert patients["label"].value_counts().to_dict() == {"HGG": 9, "LGG": 3}
        for rows, found in ((slices, block), (patients, block["patients"])):
            labels = rows["label"].map(CLASSES.index).to_numpy()
            answers = rows[CLASSES].to_numpy().argmax(axis=1)
            assert found["confusion"] == confusion_matrix(labels, answers, 2).tolist()
        assert_figures(block, patients=12)


def test_figures_of_one_place(central: Path) -> None:
    """Of 48 patients 4 are for validation, 3 of high grade and 1 of low."""
    assert_told_by_predictions(central)
    final = read_json(central / "metrics.json")
    assert_figures(final["validation"], patients=4)
    for validation in validations(central):
        assert_figures(validation["pooled"], patients=4)


def test_figures_of_a_federation(federated: Path) -> None:
    assert_told_by_predictions(federated)
    final = read_json(federated / "metrics.json")
    clients = read_json(federated / "manifest.json")["clients"]
    for figures in (final, final["last"]):
        assert list(figures["clients"]) == list(clients)
        for name, block in figures["clients"].items():
            assert_figures(block, patients=clients[name]["test"] // 2)
    for validation in validations(federated):
        for name, block in validation["clients"].items():
            assert_figures(block, patients=clients[name]["validation"] // 2)


def test_pooled_figures_are_those_of_the_summed_counts(federated: Path) -> None:
    """By slice and by patient; none of them is a mean of the clients' figures."""
    final = read_json(federated / "metrics.json")
    pairs = [(figures["client_test"], figures["clients"]) for figures in (final, final["last"])]
    pairs += [(found["pooled"], found["clients"]) for found in validations(federated)]
    for pooled, clients in pairs:
        assert_figures(pooled)
        assert pooled["patients"]["missing"] == pooled["missing"] == {}
        for part, parts in (
            (pooled, clients.values()),
            (pooled["patients"], [block["patients"] for block in clients.values()]),
        ):
            total = sum(np.array(block["confusion"]) for block in parts)
            assert part["confusion"] == total.tolist()


def test_all_runs_have_the_same_test_patients(central: Path, federated: Path) -> None:
    def tested(out: Path) -> set[str]:
        return set(pd.read_csv(out / "predictions-global_test.csv")["patient_id"])

    assert tested(central) == tested(federated)
