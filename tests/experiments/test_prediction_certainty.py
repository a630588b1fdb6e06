"""``fedskin predict`` of a calibrated run: probabilities, sets, abstaining, tables, JSON."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments.prediction import predict_command
from experiments.prediction_certainty import ALWAYS, SETS, abstaining, as_csv, as_json, with_sets
from models.backbones import build_backbone
from tests.support import BACKBONE, make_config, state_of
from training.calibration import Calibration
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.temperature import calibrated

CLASSES = list(HAM10000_CLASSES)
FOUND = Calibration(0.8, (30,) * 7, 2.0, 0.125, (0.0, 1.0, *[0.125] * 5))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run of a network without training."""
    network = build_backbone(BACKBONE, 7, pretrained=False, image_size=32, seed=0)
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config(image_size=32))
    data = {"classes": CLASSES, "synthetic": False}
    folder.update_manifest(status="completed", command="simulate", data=data)
    folder.checkpoint.save(folder.checkpoint.progress().__class__(1, 1, 50.0), state_of(network))
    calibration = FOUND.to_block()
    folder.write_metrics({"best_round": 1, "weights_sha256": "", "calibration": calibration})
    return folder


@pytest.fixture
def clinic(synthetic_ham: Path, tmp_path: Path) -> Path:
    """Three images of a clinic, and a table that names two of them and one that is not there."""
    folder = tmp_path / "clinic"
    (folder / "images").mkdir(parents=True)
    for number, image in enumerate(
        sorted(synthetic_ham.glob("ISIC2018_Task3_Test_Input/*.jpg"))[:3]
    ):
        shutil.copy(image, folder / "images" / f"{number}.jpg")
    (folder / "asked.csv").write_text("age,Image\n50,2\n60,images/0.jpg\n70,9.jpg\n")
    return folder


def test_a_table_of_images_as_csv_and_as_json(
    run: RunFolder, clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, json_file = tmp_path / "answers.csv", tmp_path / "answers.json"
    predict_command(run.path, [clinic / "asked.csv"], out=csv)
    predict_command(run.path, [clinic / "asked.csv"], out=json_file)
    said = capsys.readouterr()
    assert "left out, row without an image: 9.jpg" in said.err
    assert said.out.count(f"In every set by class, whatever the image shows: {CLASSES[0]};") == 2
    answers = pd.read_csv(csv, dtype={"image": str})
    assert answers["image"].tolist() == ["2", "images/0.jpg"]
    probabilities = answers[CLASSES].to_numpy()
    expected = calibrated(probabilities, FOUND.temperature)
    found = answers[[f"calibrated:{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    content = json.loads(json_file.read_text())
    assert content["calibration"] == FOUND.to_block()
    assert content["always_in_set_by_class"] == [CLASSES[0]]
    assert answers[ALWAYS].tolist() == [CLASSES[0]] * 2
    for row, entry in zip(answers.to_dict("records"), content["images"], strict=True):
        inside = [name for name in CLASSES if row[name] >= 0.125]
        assert entry["set"] == row["set"].split(";") == inside
        # The first class reaches 0 always, the second never reaches 1.
        assert entry["set_by_class"] == sorted(
            {CLASSES[0], *inside} - {CLASSES[1]}, key=CLASSES.index
        )
        assert entry["predicted"] == row["predicted"]
        assert entry["calibrated"][CLASSES[3]] == pytest.approx(row[f"calibrated:{CLASSES[3]}"])


def test_the_printed_table_says_what_it_shows(
    run: RunFolder, clinic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict_command(run.path, [clinic], abstain_below=1.0)
    said = capsys.readouterr().out
    assert "Calibrated (temperature 2.00). The set holds the true class for 80 % of images" in said
    assert "mel: melanoma; " in " ".join(said.split())
    assert said.count(" – ") >= 3  # no calibrated probability reaches 1
    metrics = run.metrics()
    metrics["calibration"]["threshold"] = 0.0
    run.write_metrics(metrics)
    predict_command(run.path, [clinic])
    assert "Every set has all classes, whatever the image shows" in capsys.readouterr().out
    metrics["calibration"]["threshold"] = 0.125
    metrics["calibration"]["of"] = "the clients' own models"
    run.write_metrics(metrics)
    predict_command(run.path, [clinic])
    assert "Not calibrated: the run's calibration is of the clients' own models" in (
        capsys.readouterr().out
    )
    metrics["calibration"]["temperature"] = -1
    run.write_metrics(metrics)
    with pytest.raises(RunFolderError, match=r"metrics\.json: its calibration is damaged"):
        predict_command(run.path, [clinic])


def test_a_table_without_the_column_or_without_images(run: RunFolder, clinic: Path) -> None:
    (clinic / "asked.csv").write_text("picture\n0.jpg\n")
    with pytest.raises(DataError, match="has no column image"):
        predict_command(run.path, [clinic / "asked.csv"])
    (clinic / "asked.csv").write_text("image\nother.jpg\n")
    with pytest.raises(DataError, match="none of its images is beside or below it"):
        predict_command(run.path, [clinic / "asked.csv"])


def test_who_is_unsure_says_nothing() -> None:
    """At T = 2 the probabilities 0.9 and 0.1 are 0.75 and 0.25; patients have no sets."""
    answers = pd.DataFrame(
        {"image": ["a", "b"], "predicted": ["A", "B"], "A": [0.9, 0.5], "B": [0.1, 0.5]}
    )
    calibration = Calibration(0.5, (9, 9), 2.0, 0.2, (0.95, 0.3))
    found = with_sets(answers, ["A", "B"], calibration)
    assert found[SETS["marginal"]].tolist() == [("A",), ("A", "B")]
    assert found[SETS["by_class"]].tolist() == [(), ("B",)]
    said = abstaining(found, ["A", "B"], 0.7)
    assert said["predicted"].isna().tolist() == [False, True]
    assert abstaining(answers, ["A", "B"], 0.8)["predicted"].isna().tolist() == [False, True]
    assert abstaining(found, ["A", "B"], 0.8)["predicted"].isna().all()
    assert as_csv(said, ["A", "B"], calibration)["set by class"].tolist() == ["", "B"]
    first, second = as_json(said, ["A", "B"])
    assert (first["predicted"], second["predicted"]) == ("A", None)
    assert first["calibrated"]["A"] == pytest.approx(0.75)
    assert first["set_by_class"] == []
    assert "calibrated" not in as_json(answers, ["A", "B"])[0]
