"""PAD-UFES-20 as the test set of another data set, in that one's classes."""

from pathlib import Path

import pytest

from data_partition import dataset_ham10000, dataset_isic2019
from data_partition.dataset import Reading
from data_partition.errors import DataError
from tests.data_partition.layouts import picture, write

DIAGNOSES = {
    "PAT_8_15_820.png": "NEV",
    "PAT_9_16_821.png": "ACK",
    "PAT_9_17_822.png": "SCC",
    "PAT_10_18_823.png": "SEK",
}
OTHERS = "image of a diagnosis without a class in training"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        f"{name.split('_', 2)[1]},{name.split('_')[2]},{d},{name}" for name, d in DIAGNOSES.items()
    ]
    write(tmp_path / "metadata.csv", "\n".join(["patient_id,lesion_id,diagnostic,img_id", *rows]))
    for name in DIAGNOSES:
        write(tmp_path / "images" / "imgs_part_1" / name, picture(name, "PNG"))
    return tmp_path


@pytest.mark.parametrize(
    ("load_test", "classes"),
    [
        (dataset_ham10000.load_test, ["bkl", "nv", None, "akiec"]),
        (dataset_isic2019.load_test, ["bkl", "nv", "scc", "ak"]),
    ],
)
def test_classes_of_training(folder: Path, load_test, classes: list[str | None]) -> None:
    """By image id: PAT_10 (SEK), PAT_8 (NEV), PAT_9_17 (SCC, none in HAM10000), PAT_9_16 (ACK)."""
    table = load_test(folder / "training", folder)
    ids = ["PAT_10_18_823", "PAT_8_15_820", "PAT_9_17_822", "PAT_9_16_821"]
    expected = {image: label for image, label in zip(ids, classes, strict=True) if label}
    assert dict(zip(table.rows["image_id"], table.rows["label"], strict=True)) == expected
    assert table.rows["lesion_id"].tolist()[0] == "10_18"
    left_out = tuple(image for image in ids if image not in expected)
    assert table.set_aside == ({OTHERS: left_out} if left_out else {})


def test_training_never_takes_it(folder: Path) -> None:
    """It lies inside the release, as a test set may."""
    write(folder / "ISIC_2019_Training_Input" / "ISIC_0000001.jpg", picture("ISIC_0000001"))
    truth = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_0000001,0,1,0,0,0,0,0,0,0\n"
    write(folder / "ISIC_2019_Training_GroundTruth.csv", truth)
    found = dataset_isic2019.load_training(folder, Reading())
    assert found.rows["image_id"].tolist() == ["ISIC_0000001"]


def test_an_unknown_diagnosis(folder: Path) -> None:
    text = (folder / "metadata.csv").read_text().replace("SEK", "XYZ")
    write(folder / "metadata.csv", text)
    with pytest.raises(
        DataError, match=r"PAT_10_18_823\.png has the diagnosis 'XYZ'; known are ACK"
    ):
        dataset_ham10000.load_test(folder / "training", folder)
