"""Test images that are in training are found by id, file, pixels and lesion, and refused."""

import pandas as pd
import pytest

from data_partition.copies import Match, Overlap, find_overlap, refuse
from data_partition.errors import DataError


def rows(*images: tuple[str, str | None, str, str | None]) -> pd.DataFrame:
    """Images by id, lesion, and digests of their files and pixels."""
    columns = ["image_id", "lesion_id", "files_sha256", "pixels_sha256"]
    return pd.DataFrame(images, columns=columns, dtype=object)


TRAIN = rows(("a", "L1", "f1", "p1"), ("b", "L2", "f2", "p2"), ("c", None, "f3", "p3"))


def reasons(test: pd.DataFrame, train: pd.DataFrame = TRAIN) -> dict[str, str]:
    return {id_: str(match) for id_, match in find_overlap(train, test).matches.items()}


def test_each_reason_is_found_and_the_strongest_is_told() -> None:
    """b by its name, though all else differs; d by file, e by pixels, f by lesion; g by none."""
    found = find_overlap(
        TRAIN,
        rows(
            ("b", None, "f9", "p9"),
            ("d", "L2", "f1", "p1"),
            ("e", "L2", "f8", "p1"),
            ("f", "L2", "f7", "p7"),
            ("g", "L7", "f6", "p6"),
        ),
    )
    assert {id_: str(match) for id_, match in found.matches.items()} == {
        "b": "same id",
        "d": "same file as a",
        "e": "same pixels as a",
        "f": "same lesion as b",
    }
    assert found.describe() == {
        "test_images": 5,
        "in_training": 4,
        "by_reason": {"same id": 1, "same file": 1, "same pixels": 1, "same lesion": 1},
        "lesions_known": True,
        "images": {
            "b": "same id",
            "d": "same file as a",
            "e": "same pixels as a",
            "f": "same lesion as b",
        },
    }


def test_what_is_missing_is_like_nothing() -> None:
    """Two unknown lesions are not one lesion, and two blank slices are no copies."""
    blank = rows(("x", None, "f1", None))
    assert reasons(blank, rows(("y", None, "f1", None))) == {}
    assert reasons(blank.assign(lesion_id=float("nan")), TRAIN) == {}


def test_another_slice_of_the_same_volumes_is_another_image() -> None:
    """All slices of a patient are made from the same files."""
    assert reasons(rows(("d", None, "f1", "p8"))) == {}


def test_of_training_images_that_are_equal_the_first_is_named() -> None:
    train = rows(("a", None, "f", "p"), ("b", None, "f", "p"))
    assert reasons(rows(("x", None, "g", "p")), train) == {"x": "same pixels as a"}


@pytest.mark.parametrize("train, test", [(None, "L1"), ("L1", None)])
def test_lesions_that_one_side_does_not_name_are_told(train: str | None, test: str | None) -> None:
    one, other = rows(("a", train, "f", "p")), rows(("b", test, "g", "q"))
    assert not find_overlap(one, other).lesions_known


def test_an_empty_side_has_no_overlap() -> None:
    assert reasons(TRAIN, rows()) == {}
    assert reasons(rows(), TRAIN) == {}


def test_refusal_names_the_first_and_the_remedy() -> None:
    refuse(Overlap({}, 10, True))
    id_ = Match("same id", "")
    four = {"a": id_, "b": Match("same pixels", "z"), "c": id_, "d": id_}
    with pytest.raises(DataError) as caught:
        refuse(Overlap(four, 10, True))
    assert str(caught.value) == (
        "4 of 10 test images are also in training (a: same id, b: same pixels as z, c: same id, "
        "…); take them out of the test set, or evaluate anyway with allow-overlap = true"
    )
    with pytest.raises(DataError, match=r"\(a: same id\); take"):
        refuse(Overlap({"a": id_}, 1, True))
