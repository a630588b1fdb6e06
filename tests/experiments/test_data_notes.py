"""Notes about a run's images, before it starts and above its figures."""

from typing import Any

from experiments.display import copies_note, left_out_note, overlap_note


def data(**entries: Any) -> dict[str, Any]:
    overlap = {"in_training": 0, "test_images": 9, "by_reason": {}}
    copies = {"groups": [], "contradicting": 0, "straddling": 0}
    return {"test_images": 9, "overlap": overlap, "copies": copies, **entries}


def test_what_is_in_order_is_not_spoken_of() -> None:
    assert (overlap_note(data()), copies_note(data())) == (None, None)
    # Without a test set, and of sites, whose copies nobody else sees.
    assert overlap_note(data(overlap=None, test_images=0)) is None
    assert copies_note(data(copies=None)) is None


def test_an_overlap_is_told_with_its_reasons() -> None:
    found = {"in_training": 3, "test_images": 9, "by_reason": {"same id": 1, "same lesion": 2}}
    assert overlap_note(data(overlap=found)) == (
        "3 of the 9 test images are also in training (same id: 1, same lesion: 2), so these "
        "figures are too good"
    )
    assert left_out_note(data()) is None
    note = left_out_note(data(left_out={"overlap": found}))
    assert note is not None
    assert note.startswith("3 of the 9 images left out are also in training (")


def test_over_sites_it_is_told_that_nobody_could_look() -> None:
    note = overlap_note(data(overlap=None))
    assert note is not None
    assert "is unknown" in note


def test_copies_are_counted() -> None:
    found = {"groups": [["a", "b"], ["c", "d", "e"]], "contradicting": 1, "straddling": 2}
    assert copies_note(data(copies=found)) == (
        "Images with identical pixels under several ids: 2 groups, 1 of them with contradicting "
        "labels, 2 in more than one split"
    )
