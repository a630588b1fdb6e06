"""Suggestions for an unknown name."""

import pytest

from operation.text import LISTED, known_names

KNOWN = ["backbone", "batch-size", "RN50x16"]
MANY = [*KNOWN, *(f"{number}" for number in range(LISTED))]


@pytest.mark.parametrize(
    "written, meant",
    [
        ("bakbone", "backbone"),
        ("Backbone", "backbone"),
        ("batch_size", "batch-size"),
        ("batch size", "batch-size"),
        ("batchsize", "batch-size"),
        ("rn50X16", "RN50x16"),
    ],
)
def test_the_name_that_was_meant_is_offered(written: str, meant: str) -> None:
    listed = "Known are backbone, batch-size, RN50x16"
    assert known_names(written, KNOWN) == f"did you mean {meant}? {listed}"
    assert known_names(written, MANY) == f"did you mean {meant}?"


@pytest.mark.parametrize("written", ["", "lr", "x" * 10**6])
def test_what_resembles_nothing_gets_the_list(written: str) -> None:
    assert known_names(written, KNOWN) == "known are backbone, batch-size, RN50x16"
    assert known_names(written, MANY) == f"known are {', '.join(MANY)}"
