"""Text from outside, for a terminal, a log or a table."""

import pytest

from operation.text import counted, printable, quoted


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Zürich – ok", "Zürich – ok"),
        ("\x1b[2Jgone", " [2Jgone"),
        ("one\ntwo\rthree\ttabs", "one two three tabs"),
        ("abc\u202ecba", "abc cba"),  # right-to-left override
        ("\udcff", " "),  # a byte of a file name that is no UTF-8
        ("", ""),
    ],
)
def test_what_is_not_printable_becomes_a_space(said: str, shown: str) -> None:
    assert printable(said) == shown


def test_one_is_not_several() -> None:
    assert [counted(number, "image") for number in (0, 1, 2000)] == [
        "0 images",
        "1 image",
        "2,000 images",
    ]
    assert counted(1, "trial is", "trials are") == "1 trial is"
    assert counted(2, "trial is", "trials are") == "2 trials are"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("x" * 11, 10) == "x" * 9 + "…"
    assert len(printable("x" * 500_000)) == 300
    assert printable("xy", 1) == "…"


def test_a_quoted_reason_ends_where_its_quotes_end() -> None:
    assert quoted("kaputt – ü") == '"kaputt – ü"'
    assert quoted('lost"; client-2: "x\\') == '"lost\\"; client-2: \\"x\\\\"'
