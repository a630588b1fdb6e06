"""Unsupported data sets are recognised and named."""

from pathlib import Path

import pytest

from data_partition.dataset_ham10000 import load_test, load_training
from data_partition.errors import DataError
from data_partition.recognition import recognise
from tests.data_partition import layouts
from tests.data_partition.layouts import LABELS, write

NOT_READ = "which fedskin does not read"
TABLES = {
    "image,age_approx,anatom_site_general,lesion_id,sex": (
        "the metadata of ISIC 2019, which needs ISIC_2019_Training_GroundTruth.csv beside it"
    ),
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
    "benign_malignant,target": f"the table of ISIC 2020, {NOT_READ}",
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge": (
        f"the table of ISIC 2020, {NOT_READ}"
    ),
    "isic_id,target,patient_id,age_approx,image_type,tbp_tile_type,attribution,copyright_license": (
        f"the metadata of ISIC 2024, {NOT_READ}"
    ),
    "isic_id,malignant": f"the ground truth of ISIC 2024, {NOT_READ}",
    "isic_id,attribution,copyright_license,age_approx,diagnosis_1,image_type": (
        f"an export of the ISIC archive, {NOT_READ}"
    ),
    "image_id,melanoma,seborrheic_keratosis": f"the ground truth of ISIC 2017, {NOT_READ}",
    ",image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,target,center,fold": (
        r"the split of Fed-ISIC2019 \(FLamby\): name it as split-file"
    ),
}
TRAINING_ONLY = {
    "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK": "the ground truth of ISIC 2019, dataset = isic2019",
    "patient_id,lesion_id,age,diagnostic,img_id": (
        "the metadata of PAD-UFES-20, a test set only: name its folder as test-dir"
    ),
}


@pytest.mark.parametrize("header", {**TABLES, **TRAINING_ONLY})
def test_tables_of_other_releases_are_named(tmp_path: Path, header: str) -> None:
    name = "ISIC_2019_Training_GroundTruth.csv"  # the name says less than the columns
    write(tmp_path / name, header + "\n" + "," * header.count(",") + "\n")
    layouts.write_images(tmp_path / "images", LABELS)
    complaint = f"; {name} is {({**TABLES, **TRAINING_ONLY})[header]}$"
    looks = [load_training]
    if header in TABLES:
        looks += [recognise, lambda folder: load_test(folder, folder)]
    for look in looks:
        with pytest.raises(DataError, match=complaint) as caught:
            look(tmp_path)
        assert "\n" not in str(caught.value)


def test_reduced_images_in_a_table(tmp_path: Path) -> None:
    write(tmp_path / "hmnist_28_28_RGB.csv", "pixel0000,label\n1,2\n")
    complaint = r"hmnist_28_28_RGB\.csv holds pixels .* bring the JPEG files, HAM10000_images_part"
    with pytest.raises(DataError, match=complaint):
        recognise(tmp_path)
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata())
    assert recognise(tmp_path).name == "ham10000"
    with pytest.raises(DataError, match=complaint):
        load_training(tmp_path)


@pytest.mark.parametrize("label", ["Melanoma", "melanocytic nevi", "Benign_keratosis-like lesions"])
def test_a_table_with_class_names_in_words(tmp_path: Path, label: str) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata({**LABELS, "ISIC_0000003": label}))
    short = {"M": "mel", "m": "nv", "B": "bkl"}[label[0]]
    with pytest.raises(
        DataError, match=rf"ISIC_0000003 .* in words, '{label.lower()}', .* has '{short}'"
    ):
        load_training(tmp_path)


def test_folders_with_class_names_in_words(tmp_path: Path) -> None:
    layouts.write_images(tmp_path / "train" / "Basal cell carcinoma", ["a"])
    complaint = "folder train/Basal cell carcinoma has a full name: rename it to bcc"
    for look in (recognise, load_training):
        with pytest.raises(DataError, match=complaint):
            look(tmp_path)


def test_ones_own_classes_are_not_renamed(tmp_path: Path) -> None:
    """Only folders that all are classes of HAM10000 are its, under longer names."""
    layouts.write_images(tmp_path / "melanoma", ["a"])
    layouts.write_images(tmp_path / "wart", ["b"])
    with pytest.raises(DataError, match="melanoma and wart are classes") as caught:
        recognise(tmp_path)
    assert "rename it" not in str(caught.value)


def test_volumes_in_another_format(tmp_path: Path) -> None:
    write(tmp_path / "HGG" / "brats_2013_1" / "t1.mha", b"x")
    with pytest.raises(DataError, match=r"1 file ends in \.mha, .*: save it as NIfTI"):
        recognise(tmp_path)


def test_nothing_is_known_of_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"ISIC_2019_Training_Input/\)(; for images of your own.*the images\))?$"
    ):
        recognise(tmp_path)
