"""One source of a release taken out of training."""

import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.left_out import from_source, without_source


def rows(*sources: str | None) -> pd.DataFrame:
    return pd.DataFrame({"image_id": range(len(sources)), "source": sources}, dtype=object)


def test_every_image_is_on_one_side() -> None:
    table = rows("a", "b", "a", "c")
    assert from_source(table, "a").tolist() == [True, False, True, False]
    assert without_source(table, "a", split_by="image")["image_id"].tolist() == [1, 3]
    assert not from_source(table, "").any()
    assert without_source(table, "", split_by="image") is table


def test_images_of_no_known_source_are_from_none() -> None:
    """`plan_partition` refuses them, with the remedy of their data set."""
    table = rows("a", None)
    assert from_source(table, "a").tolist() == [True, False]
    assert without_source(table, "a", split_by="lesion") is table
    assert not from_source(rows(None), "").any()


@pytest.mark.parametrize(
    "sources, complaint",
    [
        (("b", "a", "b"), r"^leave-out = 'c': no such source; there are a, b$"),
        (("c", "c"), r"^leave-out = 'c': is the only source, so nothing is left to train on"),
    ],
)
def test_a_source_that_cannot_be_left_out(sources: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        without_source(rows(*sources), "c", split_by="image")


def test_where_lesions_stay_together_they_are_left_out_whole() -> None:
    """Lesion x is of sources a and b; of c's image nobody knows the lesion."""
    table = rows("a", "b", "b", "c").assign(lesion_id=["x", "x", "y", None])
    assert without_source(table, "a", split_by="image")["image_id"].tolist() == [1, 2, 3]
    assert without_source(table, "a", split_by="lesion")["image_id"].tolist() == [2, 3]
    assert without_source(table, "c", split_by="lesion")["image_id"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="its lesions are all there are"):
        without_source(table[:2], "a", split_by="lesion")
