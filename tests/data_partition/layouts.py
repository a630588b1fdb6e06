"""Tiny data sets in the layouts that HAM10000 and ISIC2018 are published in."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from data_partition.ham10000_tables import HAM10000_CLASSES

# image id: (label, lesion, source); two images of lesion HAM_1, every class once or more.
IMAGES = {
    "ISIC_0000001": ("nv", "HAM_1", "rosendahl"),
    "ISIC_0000002": ("nv", "HAM_1", "rosendahl"),
    "ISIC_0000003": ("mel", "HAM_2", "rosendahl"),
    "ISIC_0000004": ("bkl", "HAM_3", "vidir_modern"),
    "ISIC_0000005": ("bcc", "HAM_4", "vidir_modern"),
    "ISIC_0000006": ("akiec", "HAM_5", "vidir_molemax"),
    "ISIC_0000007": ("vasc", "HAM_6", "vidir_molemax"),
    "ISIC_0000008": ("df", "HAM_7", "vienna_dias"),
}
LABELS = {image_id: label for image_id, (label, _, _) in IMAGES.items()}
LESIONS = {image_id: lesion for image_id, (_, lesion, _) in IMAGES.items()}
SOURCES = {image_id: source for image_id, (_, _, source) in IMAGES.items()}

TEST_LABELS = {"ISIC_0034529": "nv", "ISIC_0034530": "mel", "ISIC_0035068": "bkl"}


def picture(name: str, kind: str = "JPEG") -> bytes:
    """An encoded 16x16 image that depends on its name only."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (16, 16, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(encoded, kind)
    return encoded.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_images(folder: Path, image_ids: Iterable[str], suffix: str = ".jpg") -> None:
    for image_id in image_ids:
        write(folder / f"{image_id}{suffix}", picture(image_id))


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def metadata(
    labels: Mapping[str, str] = LABELS, delimiter: str = ",", with_dataset: bool = True
) -> str:
    """A table in the format of HAM10000's metadata, one age left empty."""
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
    rows = [
        [LESIONS.get(name, ""), name, label, "histo", "", "male", "back", SOURCES.get(name, "")]
        for name, label in labels.items()
    ]
    width = len(columns) if with_dataset else len(columns) - 1
    return "".join(delimiter.join(row[:width]) + "\n" for row in [columns, *rows])


def one_hot(labels: Mapping[str, str]) -> str:
    """A ground truth of the ISIC challenge, its columns in the challenge's order."""
    order = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
    assert set(order) == set(HAM10000_CLASSES)
    lines = ["image," + ",".join(name.upper() for name in order)]
    for image_id, label in labels.items():
        lines.append(",".join([image_id, *(str(float(name == label)) for name in order)]))
    return "\n".join(lines) + "\n"


def dataverse(folder: Path, metadata_name: str = "HAM10000_metadata.csv") -> Path:
    """Dataverse's training release, unpacked."""
    ids = list(IMAGES)
    write_images(folder / "HAM10000_images_part_1", ids[:4])
    write_images(folder / "HAM10000_images_part_2", ids[4:])
    write(folder / metadata_name, metadata())
    return folder


def challenge(folder: Path) -> Path:
    """The ISIC challenge's training release."""
    name = "ISIC2018_Task3_Training"
    write_images(folder / f"{name}_Input", IMAGES)
    write(folder / f"{name}_GroundTruth" / f"{name}_GroundTruth.csv", one_hot(LABELS))
    return folder


def challenge_test(folder: Path) -> Path:
    """The ISIC challenge's test release."""
    name = "ISIC2018_Task3_Test"
    write_images(folder / f"{name}_Input", TEST_LABELS)
    write(folder / f"{name}_GroundTruth" / f"{name}_GroundTruth.csv", one_hot(TEST_LABELS))
    return folder


def class_tree(folder: Path, labels: Mapping[str, str], suffix: str = ".jpg") -> Path:
    for image_id, label in labels.items():
        write_images(folder / label, [image_id], suffix)
    return folder
