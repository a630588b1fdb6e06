"""When key ``patience`` ends a run."""

from typing import Any

import pytest

from tests.support import make_config
from training.early_stopping import ends_after


def records(*figures: float | None) -> list[dict[str, Any]]:
    """Return the records of rounds; None: no client validated."""
    return [
        {"validation": {"pooled": {"avg": figure, "loss": figure, "n": int(figure is not None)}}}
        for figure in figures
    ]


@pytest.mark.parametrize(
    ("best_by", "patience", "figures", "expected"),
    [
        ("avg", 2, [50, 60, 60, 59], 4),  # as good is not better
        ("avg", 2, [50, 60, 60, 59, 70, 71], 4),  # and what came later does not matter
        ("avg", 3, [50, 60, 60, 59], None),
        ("avg", 1, [50, 60, 70], None),
        ("loss", 1, [3, 2, 1], None),
        ("loss", 1, [1, 2, 3], 2),
        ("avg", 0, [50, 40, 40, 40], None),
        ("avg", 1, [None, None, None], None),  # nothing that could become better
        ("avg", 2, [None, 50, None, None], 4),
        ("avg", 1, [], None),
    ],
)
def test_it_ends_after_so_many_rounds_without_a_better_figure(
    best_by: str, patience: int, figures: list[float | None], expected: int | None
) -> None:
    config = make_config(best_by=best_by, patience=patience)
    assert ends_after(records(*figures), config, validated_late=False) == expected


def test_where_models_are_validated_late_it_ends_a_round_later() -> None:
    """Whether the last one is validated already or not makes no difference."""
    config = make_config(patience=1)
    one, two, three = records(50, 40, 60)
    for last in ({}, two):
        assert ends_after([one, last], config, validated_late=True) is None
    for last in ({}, three):
        assert ends_after([one, two, last], config, validated_late=True) == 3
