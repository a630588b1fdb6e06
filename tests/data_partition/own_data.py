"""Small folders of a hospital's own images, of classes that no published data set has."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.data_partition.layouts import picture, write

CLASSES = ("angioma", "basalioma", "seborrheic keratosis")
COLUMNS = ("image", "label", "lesion", "source", "split")

# Of each class twelve images of six lesions, two of them for testing.
ROWS = [
    (
        f"{label.split()[0]}-{number}.jpg",
        label,
        f"{label[0]}{number // 2}",
        ("clinic-a", "clinic-b")[number % 4 // 2],
        "test" if number >= 8 else "train",
    )
    for label in CLASSES
    for number in range(12)
]


def as_csv(rows: Iterable[Sequence[str]], columns: Sequence[str] = COLUMNS) -> str:
    return "".join(",".join(row[: len(columns)]) + "\n" for row in [columns, *rows])


def own_table(
    folder: Path, rows: Sequence[Sequence[str]] = ROWS, columns: Sequence[str] = COLUMNS
) -> Path:
    """A table above a folder with the images that it names."""
    for row in rows:
        write(folder / "pictures" / row[0], picture(f"{folder.name}{row[0]}"))
    write(folder / "labels.csv", as_csv(rows, columns))
    return folder


def own_folders(folder: Path, rows: Sequence[Sequence[str]] = ROWS) -> Path:
    """The same images in folders of their classes, below train and test."""
    for name, label, _, _, split in rows:
        write(folder / split / label / name, picture(f"{folder.name}{name}"))
    return folder
