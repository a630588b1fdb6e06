"""Synthetic images: of the whole run where that is known, else as what a site says of its own."""

import pytest

from training.data_description import SYNTHETIC, synthetic_note


@pytest.mark.parametrize(
    "whole, saying, note",
    [
        (True, (), SYNTHETIC),
        (True, ("a", "b"), SYNTHETIC),
        (False, (), None),
        (False, ("b",), "b says that its images are synthetic"),
        (False, ("a", "b"), "a, b say that their images are synthetic"),
    ],
)
def test_one_sites_word_is_told_as_its_own(
    whole: bool, saying: tuple[str, ...], note: str | None
) -> None:
    clients = {name: {"train": 6, "synthetic": name in saying} for name in "abc"}
    manifest = {"data": {"synthetic": whole}, "clients": clients}
    assert synthetic_note(manifest) == note


def test_a_simulations_clients_say_nothing_of_it() -> None:
    assert synthetic_note({"data": {"synthetic": False}, "clients": {"a": {"train": 6}}}) is None
    assert synthetic_note({"data": {"synthetic": False}}) is None
