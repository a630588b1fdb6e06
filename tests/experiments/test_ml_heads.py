"""``fedskin heads`` as a person meets it, and ``fedskin predict --head``."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.synthetic_ham10000 import write_ham10000
from tests.run_shape import assert_like_a_generated_one
from tests.runs import fedskin, read_json, tiny_options
from training.metrics import METRIC_NAMES, confusion_matrix, metrics

TEST_FOLDER = "ISIC2018_Task3_Test_Input"


@pytest.fixture(scope="module")
def skin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images that every class is in the training split."""
    folder = tmp_path_factory.mktemp("heads") / "skin"
    write_ham10000(folder, images=120, seed=0)
    return folder


def options(skin: Path, **changes: object) -> list[str]:
    return tiny_options(skin, skin.parent / "cache", epochs=1, **changes)


@pytest.fixture(scope="module")
def finished(skin: Path) -> tuple[Path, str]:
    """The run folder and the output of a small run."""
    result = fedskin("heads", *options(skin), "--out", "out", cwd=skin.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    return skin.parent / "out", result.stdout


def test_network_and_heads_are_judged_side_by_side(finished: tuple[Path, str]) -> None:
    out, output = finished
    final = read_json(out / "metrics.json")
    assert list(final["heads"]) == ["network", "knn", "svm", "rf"]
    network = final["heads"]["network"]
    judged = [*METRIC_NAMES, "confusion", "intervals"]
    assert {name: network[name] for name in judged} == {
        name: final["global_test"][name] for name in judged
    }
    for block in final["heads"].values():
        assert block["n"] == 70
        low, high = block["intervals"]["avg"]
        assert low <= block["avg"] <= high
    for head in ("knn", "svm", "rf"):
        assert 0 <= final["heads"][head]["against_network"]["p_value"] <= 1
    assert "SYNTHETIC" in output
    assert all(word in output for word in ("network", "+KNN", "+SVM", "+RF", "AVG"))
    temperature = final["calibration"]["temperature"]
    assert f"temperature {temperature:.2f}" in output


def test_generated_run_folders_are_like_this_one(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    assert_like_a_generated_one(finished[0], tmp_path)


@pytest.mark.parametrize("head", ["knn", "svm", "rf"])
def test_figures_can_be_recomputed_from_what_was_predicted(
    finished: tuple[Path, str], head: str
) -> None:
    out, _ = finished
    table = pd.read_csv(out / f"predictions-heads-{head}.csv")
    np.testing.assert_allclose(table[list(HAM10000_CLASSES)].sum(axis=1), 1, atol=1e-5)
    labels, predicted = (
        table[column].map(HAM10000_CLASSES.index).to_numpy() for column in ("label", "predicted")
    )
    expected = metrics(confusion_matrix(labels, predicted, 7))
    block = read_json(out / "metrics.json")["heads"][head]
    assert {name: block[name] for name in METRIC_NAMES} == expected


def test_other_heads_on_the_same_features(finished: tuple[Path, str], tmp_path: Path) -> None:
    """Nothing is trained and no feature computed again; the run's own figures stay."""
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "features").iterdir()}
    old = read_json(out / "metrics.json")
    result = fedskin("heads", "--from", out, "-c", "knn-neighbors=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (out / "features").iterdir()} == before
    new = read_json(out / "metrics.json")
    assert new["heads"]["knn"]["settings"] == {"n_neighbors": 1}
    assert new["heads"]["rf"]["confusion"] == old["heads"]["rf"]["confusion"]
    assert new["head_settings"] == {**old["head_settings"], "knn-neighbors": 1}
    assert {k: v for k, v in new.items() if not k.startswith("head")} == {
        k: v for k, v in old.items() if not k.startswith("head")
    }


def test_a_head_answers_for_new_images(finished: tuple[Path, str], skin: Path) -> None:
    out, _ = finished
    table = pd.read_csv(out / "predictions-heads-knn.csv").iloc[:10]
    files = [skin / TEST_FOLDER / f"{name}.jpg" for name in table["image_id"]]
    result = fedskin(
        "predict", out, *files, "--head", "knn", "--out", "answers.csv", cwd=skin.parent
    )
    assert result.returncode == 0, result.stderr
    found = pd.read_csv(skin.parent / "answers.csv")
    assert found["predicted"].tolist() == table["predicted"].tolist()


@pytest.fixture
def leaked(skin: Path, tmp_path: Path) -> tuple[Path, str, str]:
    """The images, of which one test image is a copy of a training image; the ids of both."""
    data = tmp_path / "skin"
    shutil.copytree(skin, data)
    copied = sorted((data / "HAM10000_images_part_1").glob("*.jpg"))[0]
    target = sorted((data / TEST_FOLDER).glob("*.jpg"))[0]
    shutil.copy(copied, target)
    return data, target.stem, copied.stem


def test_test_images_of_the_training_set_are_refused(
    leaked: tuple[Path, str, str], tmp_path: Path
) -> None:
    data, target, _ = leaked
    arguments = tiny_options(data, tmp_path / "cache", epochs=1)
    result = fedskin("heads", *arguments, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert target in result.stderr
    assert "allow-overlap = true" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_test_images_of_the_training_set_are_counted_where_they_are_allowed(
    leaked: tuple[Path, str, str], tmp_path: Path
) -> None:
    data, target, copied = leaked
    arguments = tiny_options(data, tmp_path / "cache", epochs=1, allow_overlap=True)
    allowed = fedskin("heads", *arguments, "--out", "out", cwd=tmp_path)
    assert allowed.returncode == 0, allowed.stderr
    # Before the run, and with its figures.
    note = (
        "1 of the 70 test images are also in training (same file: 1), so these figures are too good"
    )
    assert " ".join(allowed.stdout.split()).count(note) == 2
    overlap = read_json(tmp_path / "out" / "manifest.json")["data"]["overlap"]
    assert overlap["images"] == {target: f"same file as {copied}"}
    assert read_json(tmp_path / "out" / "metrics.json")["global_test"]["in_training"] == 1


def test_bad_input_is_one_line(finished: tuple[Path, str], skin: Path, tmp_path: Path) -> None:
    out, _ = finished
    no_test = tmp_path / "no-test"
    shutil.copytree(skin, no_test, ignore=shutil.ignore_patterns("ISIC2018*"))
    for arguments, words in (
        (["--from", out, "-c", "epochs=3"], ["epochs", "knn-neighbors"]),
        (["--from", out, "--resume"], ["--from", "--resume"]),
        (["--from", tmp_path], [str(tmp_path), "run folder"]),
        (["-c", "svm-c=0"], ["svm-c = 0"]),
        (options(skin, objective="clip"), ["objective = 'clip'", "--from"]),
        (tiny_options(no_test, tmp_path / "cache"), ["test set"]),
    ):
        result = fedskin("heads", *arguments, cwd=tmp_path)
        assert result.returncode == 2, result.stdout
        assert len(result.stderr.strip().splitlines()) == 1
        assert all(word in result.stderr for word in words), result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_class_without_test_images_is_told(skin: Path, tmp_path: Path) -> None:
    """A test set of another domain has not all classes: what occurs is judged."""
    data = tmp_path / "skin"
    shutil.copytree(skin, data)
    truth = data / "ISIC2018_Task3_Test_GroundTruth.csv"
    table = pd.read_csv(truth)
    table[table["VASC"] == 0].to_csv(truth, index=False)
    out = tmp_path / "out"
    result = fedskin(
        "heads",
        *tiny_options(data, tmp_path / "cache", heads="knn", epochs=1),
        *("--out", out),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "no images of vasc" in " ".join(result.stdout.split())
    block = read_json(out / "metrics.json")["heads"]["knn"]
    assert sum(block["confusion"][-1]) == 0
    assert block["bacc"] is not None


def test_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.ml_heads", "-c", "epochs=0"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "epochs = 0" in result.stderr


@pytest.mark.slow
def test_each_client_fits_heads_of_its_own(skin: Path, tmp_path: Path) -> None:
    """In a simulation, with the figures on the global test set; then heads on the run itself."""
    # With this seed every class is among the 72 images that are trained on.
    arguments = options(skin, rounds=1, client_heads=True, heads="knn,svm", seed=1)
    result = fedskin("simulate", *arguments, "--out", "fed", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    found = read_json(tmp_path / "fed" / "metrics.json")["client_heads"]
    assert list(found) == ["client-0", "client-1", "client-2"]
    for heads in found.values():
        assert {head: block["n"] for head, block in heads.items()} == {"knn": 70, "svm": 70}
    assert "own SVM of client-2" in result.stdout
    on_run = fedskin("heads", "--from", "fed", "--out", "own", cwd=tmp_path)
    assert on_run.returncode == 0, on_run.stderr
    own = read_json(tmp_path / "own" / "metrics.json")
    assert {head: block["n"] for head, block in own["heads"].items()} == {
        "network": 70,
        "knn": 70,
        "svm": 70,
    }
    assert "client_heads" not in own
