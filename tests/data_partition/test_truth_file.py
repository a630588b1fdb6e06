from pathlib import Path

import pytest

from data_partition.errors import DataError
from data_partition.truth_file import as_one_hot, read_truth
from tests.data_partition.layouts import LABELS, metadata, one_hot, write


def shuffled_columns(text: str) -> str:
    """The image's column last."""
    return "".join(
        ",".join([*rest, image]) + "\n"
        for image, *rest in (line.split(",") for line in text.splitlines())
    )


@pytest.mark.parametrize(
    "text",
    [
        one_hot(LABELS),
        shuffled_columns(one_hot(LABELS)),
        one_hot(LABELS).replace(",", "\t"),
        metadata(),
        metadata(with_dataset=False),
        metadata(delimiter="\t"),
        "\ufeff" + metadata().replace("\n", "\r\n"),
    ],
    ids=["challenge", "other order", "tabs", "Dataverse", "older", "tab", "Windows"],
)
def test_either_format_gives_the_labels_in_the_files_order(text: str, tmp_path: Path) -> None:
    rows = read_truth(write(tmp_path / "truth.csv", text))
    assert rows.columns.tolist() == ["image_id", "label"]
    assert dict(zip(rows["image_id"], rows["label"], strict=True)) == LABELS
    assert rows["image_id"].tolist() == list(LABELS)


def test_dataverses_truth_becomes_the_challenges(tmp_path: Path) -> None:
    rows = read_truth(write(tmp_path / "truth.tab", metadata(delimiter="\t")))
    assert as_one_hot(rows).to_csv(index=False) == one_hot(LABELS)


BAD = {
    "neither format": (
        "name,answer\nISIC_1,nv\n",
        r"ground truth file.*image, MEL, NV.*image_id, dx",
    ),
    "empty file": ("", "not a ground truth file"),
    "a column missing": (one_hot(LABELS).replace(",VASC", ",OTHER"), "not a ground truth file"),
    "a column too many": (
        one_hot(LABELS).replace("\n", ",1.0\n").replace("VASC,1.0", "VASC,score_weight"),
        "has the column score_weight .*remove it",
    ),
    "two classes": (one_hot(LABELS).replace("0.0", "1.0", 1), "ISIC_0000001 is not one-hot"),
    "no class": (one_hot(LABELS).replace("1.0", "0.0", 1), "ISIC_0000001 is not one-hot"),
    "no number": (one_hot(LABELS).replace("1.0", "yes", 1), "ISIC_0000001 is not one-hot"),
    "unknown label": (metadata().replace(",df,", ",scc,"), "ISIC_0000008 has the label 'scc'"),
    "an image twice": (
        one_hot(LABELS).replace("ISIC_0000002", "ISIC_0000001"),
        "ISIC_0000001 has two rows; remove one",
    ),
    "an image twice, otherwise": (
        metadata().replace("ISIC_0000003", "ISIC_0000001"),
        "ISIC_0000001 has two rows; remove one",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_truth_is_one_line(name: str, tmp_path: Path) -> None:
    text, words = BAD[name]
    with pytest.raises(DataError, match=words) as raised:
        read_truth(write(tmp_path / "truth.csv", text))
    assert "\n" not in str(raised.value)
    assert "truth.csv" in str(raised.value)


@pytest.mark.parametrize("name", ["", "nowhere.csv"], ids=["a folder", "nothing"])
def test_what_is_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such truth file"):
        read_truth(tmp_path / name)


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    with pytest.raises(DataError, match="not a ground truth file"):
        read_truth(path)
