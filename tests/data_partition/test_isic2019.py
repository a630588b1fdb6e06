"""ISIC 2019 as published: labels, lesions, centres, and a test set with a ninth class."""

from pathlib import Path

import pytest

from data_partition.dataset import Reading
from data_partition.dataset_isic2019 import load_test, load_training
from data_partition.errors import DataError
from data_partition.isic2019_tables import ISIC2019_CLASSES
from data_partition.recognition import recognise
from tests.data_partition import layouts
from tests.data_partition.layouts import write

# image: (label, lesion, centre); the third belongs to no centre.
IMAGES = {
    "ISIC_0000001": ("scc", "HAM_0000550", "vidir_modern"),
    "ISIC_0000002_downsampled": ("nv", "MSK4_0001234", "MSK"),
    "ISIC_0000003": ("mel", "", None),
    "ISIC_0000004": ("ak", "BCN_0000009", "BCN"),
    "ISIC_0000005": ("vasc", "BCN_0000009", "BCN"),
}
HEADER = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"


def truth(labels: dict[str, str], header: str = HEADER) -> str:
    names = header.split(",")[1:]
    rows = [
        ",".join([image, *(str(float(name.lower() == label)) for name in names)])
        for image, label in labels.items()
    ]
    return "\n".join([header, *rows]) + "\n"


def metadata(**lesions: str) -> str:
    of = {image: lesion for image, (_, lesion, _) in IMAGES.items()} | lesions
    rows = [f"{image},55.0,anterior torso,{lesion},female" for image, lesion in of.items()]
    return "\n".join(["image,age_approx,anatom_site_general,lesion_id,sex", *rows]) + "\n"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "isic"
    layouts.write_images(folder / "ISIC_2019_Training_Input", IMAGES)
    labels = {image: label for image, (label, _, _) in IMAGES.items()}
    write(folder / "ISIC_2019_Training_GroundTruth.csv", truth(labels))
    write(folder / "ISIC_2019_Training_Metadata.csv", metadata())
    of_ham = "lesion_id,image_id,dx,dataset\nHAM_0000550,ISIC_0000001,akiec,vidir_modern\n"
    write(folder / "HAM10000_metadata", of_ham)
    return folder


def test_labels_lesions_and_centres(release: Path) -> None:
    assert recognise(release).name == "isic2019"
    table = load_training(release)
    assert table.classes == ISIC2019_CLASSES == tuple(sorted(table.classes))
    found = table.rows.set_index("image_id")[["label", "lesion_id", "source"]]
    expected = {image: (label, lesion or None, c) for image, (label, lesion, c) in IMAGES.items()}
    assert dict(zip(found.index, found.itertuples(index=False, name=None), strict=True)) == expected
    assert table.set_aside == {}


def test_images_without_a_centre_are_set_aside_if_centres_are_the_clients(release: Path) -> None:
    table = load_training(release, Reading(by_source=True))
    assert table.rows["source"].notna().all()
    assert table.set_aside == {
        "image without a lesion id, so that its centre is unknown": ("ISIC_0000003",)
    }


def test_without_the_other_tables_lesions_and_centres_are_unknown(release: Path) -> None:
    (release / "HAM10000_metadata").unlink()
    assert load_training(release).rows["source"].tolist() == [None, "MSK", None, "BCN", "BCN"]
    (release / "ISIC_2019_Training_Metadata.csv").unlink()
    rows = load_training(release, Reading(by_source=True)).rows
    assert len(rows) == 5
    assert rows[["lesion_id", "source"]].isna().all(axis=None)


def test_an_unknown_centre(release: Path) -> None:
    write(release / "ISIC_2019_Training_Metadata.csv", metadata(ISIC_0000004="ABC_0000009"))
    with pytest.raises(
        DataError, match=r"ISIC_0000004 has the lesion .ABC_0000009., which .* BCN_, MSK4"
    ):
        load_training(release)


def test_a_row_of_two_classes(release: Path) -> None:
    text = (release / "ISIC_2019_Training_GroundTruth.csv").read_text().replace("0.0", "1.0", 1)
    write(release / "ISIC_2019_Training_GroundTruth.csv", text)
    with pytest.raises(DataError, match=r"ISIC_0000001 is not one-hot; .* among the 9 classes"):
        load_training(release)


def test_images_without_a_ground_truth(release: Path) -> None:
    (release / "ISIC_2019_Training_GroundTruth.csv").unlink()
    with pytest.raises(DataError, match=r"5 images, but no ground truth .* needs ISIC_2019"):
        load_training(release)


def test_the_test_set_without_its_ninth_class(release: Path) -> None:
    assert load_test(release, None) is None
    labels = {"ISIC_0000008": "nv", "ISIC_0000009": "unk"}
    layouts.write_images(release / "ISIC_2019_Test_Input", labels)
    with pytest.raises(DataError, match="found 2 images, but no ground truth"):
        load_test(release, None)
    name = "ISIC_2019_Test_GroundTruth.csv"
    write(release / name, truth(labels, f"{HEADER},score_weight,validation_weight"))
    table = load_test(release, None)
    assert table is not None
    assert table.rows["image_id"].tolist() == ["ISIC_0000008"]
    assert table.set_aside == {
        "image of the class UNK, which training does not have": ("ISIC_0000009",)
    }
    assert load_training(release).rows["image_id"].tolist() == list(IMAGES)
