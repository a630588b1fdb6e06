"""Data and federations that cannot be: one line each, exit status 2, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data_partition import layouts
from tests.data_partition.volumes import KINDS, touch_cases
from tests.runs import fedskin

CASE = "BraTS19_CBICA_AAB_1"


def case(folder: Path) -> None:
    touch_cases(folder, {CASE: "HGG"})


def case_without_segmentation(folder: Path) -> None:
    touch_cases(folder, {CASE: "HGG"}, [kind for kind in KINDS if kind != "seg"])


def patient_in_two_splits(folder: Path) -> None:
    for split in ("train", "test"):
        layouts.class_tree(folder / split, {f"{CASE}_{split}": "HGG"}, ".png")


def letters(folder: Path) -> None:
    layouts.write(folder / "letters" / "to a patient.txt", "Dear patient")


# What the data folder holds, options, and what the line must say: the thing and the remedy.
BAD: dict[str, tuple[Callable[[Path], None], list[str], list[str]]] = {
    "no segmentation": (
        case_without_segmentation,
        [],
        ["no case of BraTS2019 that can be used", "no segmentation", CASE],
    ),
    "test folder": (case, ["test-dir=."], ["test-dir = ", "leave test-dir empty"]),
    "text encoder": (case, ["text-encoder=ViT-H/14"], ["'ViT-H/14'", "RN50x16, RN50x64"]),
    "modality": (case, ["modalities=t1ce,t2,flare"], ["t1ce,t2,flare", "flair, t1, t1ce, t2"]),
    "patient in two splits": (patient_in_two_splits, [], [CASE, "train", "test", "move them"]),
    "neither data set": (letters, [], ["no data set", "HAM10000", "BraTS2019"]),
}


@pytest.mark.parametrize("command", ["simulate", "clip"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_status_2(name: str, command: str, tmp_path: Path) -> None:
    write, options, words = BAD[name]
    write(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    paths = ["data-dir=data", "cache-dir=cache", "pretrained=false"]
    overrides = [word for option in (*paths, *options) for word in ("-c", option)]
    result = fedskin(command, *overrides, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("fedskin: ")
    assert all(word in line for word in words), line
    assert sorted(tmp_path.rglob("*")) == before


OF_OTHER_IMAGES = "image,center,fold\nISIC_9999999,0,train\n"

# Options of a federation over the synthetic images, and what the line must say.
FEDERATIONS: dict[str, tuple[list[str], list[str]]] = {
    "unknown centre": (
        ["partition=source", "leave-out=nowhere"],
        ["leave-out = 'nowhere'", "rosendahl"],
    ),
    "not a client each centre": (["partition=source", "clients=2"], ["clients = 2"]),
    "split of other images": (
        ["split=flamby", "split-file=split.csv"],
        ["split.csv", "split of other images", "name the split file of this data set"],
    ),
    "optimizer": (
        ["strategy=scaffold", "optimizer=adam"],
        ["strategy = 'scaffold'", "optimizer = sgd"],
    ),
    "too few for Krum": (
        ["strategy=krum", "byzantine-clients=1", "clients=3"],
        ["clients = 3", "strategy = 'krum'", "needs 5 replies in every round"],
    ),
    "nothing shared": (["strategy=fedper", "trainable=head"], ["fedper", "head"]),
}


@pytest.mark.parametrize("name", FEDERATIONS)
def test_a_federation_that_cannot_be_is_one_line_and_status_2(
    name: str, synthetic_ham: Path, tmp_path: Path
) -> None:
    options, words = FEDERATIONS[name]
    (tmp_path / "split.csv").write_text(OF_OTHER_IMAGES)
    paths = [f"data-dir={synthetic_ham}", "cache-dir=cache", "pretrained=false"]
    overrides = [word for option in (*paths, *options) for word in ("-c", option)]
    result = fedskin("simulate", *overrides, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("fedskin: ")
    assert all(word in line for word in words), line
    assert not (tmp_path / "out").exists()
