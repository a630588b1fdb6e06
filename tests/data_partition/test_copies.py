"""Images with identical pixels under several ids are found, contradictions first."""

import pandas as pd

from data_partition.copies import find_copies, num_straddling


def rows(pixels: dict[str, str | None], labels: dict[str, str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": list(pixels),
            "label": [(labels or {}).get(id_, "nv") for id_ in pixels],
            "lesion_id": [f"L{id_}" if id_ < "d" else None for id_ in pixels],
            "pixels_sha256": list(pixels.values()),
        }
    )


def test_contradicting_labels_come_first() -> None:
    """c, a and f are one picture; b and e another, with two labels; d is alone."""
    images = rows({"c": "p", "a": "p", "b": "q", "d": "r", "e": "q", "f": "p"}, {"e": "mel"})
    first, second = find_copies(images)
    assert [copies.contradicting for copies in (first, second)] == [True, False]
    assert str(first) == "b (nv, Lb) = e (mel)"
    assert str(second) == "a (nv, La) = c (nv, Lc) = f (nv)"


def test_blank_images_are_no_copies() -> None:
    assert find_copies(rows({"a": None, "b": None})) == []


def test_groups_over_several_places_straddle() -> None:
    images = rows({"a": "p", "b": "p", "c": "q", "d": "q", "e": "r", "f": "r", "g": None})
    places = ["0 train", "0 train", "0 train", "0 test", "0 train", None, "1 test"]
    assert num_straddling(images, places) == 1
    assert num_straddling(images, ["here"] * 7) == 0
