"""The figure of what training costs: its units and its axes."""

import pytest

from experiments.reporting.cost import draw_cost
from tests.experiments.reporting.drawn_figures import THREE, comparison_of, drawn
from tests.experiments.reporting.made_ledger import row


def test_cost_has_bytes_only_in_a_federation() -> None:
    """3 GB sent and 1 received, 150 seconds."""
    moved = {"bytes_sent": 3e9, "bytes_received": 1e9, "seconds": 150}
    left, right = draw_cost(comparison_of(row(70, **moved))).axes
    assert left.get_xlabel() == "gigabytes sent and received by the server"
    assert (left.lines[0].get_xdata(), left.lines[0].get_ydata()) == ([4], [70])
    assert (right.get_xlabel(), right.lines[0].get_xdata()) == ("minutes in rounds", [2.5])

    none = {"bytes_sent": float("nan"), "bytes_received": float("nan"), "seconds": 150}
    (only,) = draw_cost(comparison_of(row(70, command="heads", **none))).axes
    assert only.get_xlabel() == "minutes in epochs"


@pytest.mark.parametrize("seconds", [(60, 90), (60, 6000), (0, 0)])
def test_cost_over_any_range(seconds: tuple[int, int]) -> None:
    rows = [row(70, backbone=b, seconds=s) for b, s in zip(THREE, seconds, strict=False)]
    assert "in rounds" in drawn(draw_cost(comparison_of(*rows)))


@pytest.mark.parametrize(
    "seconds, words, value",
    [
        (0.5, "seconds in rounds", 0.5),
        (119, "seconds in rounds", 119),
        (120, "minutes in rounds", 2),
        (7199, "minutes in rounds", 7199 / 60),
        (7200, "hours in rounds", 2),
        (172_800, "days in rounds", 2),
    ],
)
def test_the_unit_is_one_of_which_it_took_two_or_more(
    seconds: float, words: str, value: float
) -> None:
    """Shorter than two seconds is in seconds, too."""
    axes = draw_cost(comparison_of(row(70, seconds=seconds))).axes[1]
    assert (axes.get_xlabel(), axes.lines[0].get_xdata()) == (words, [pytest.approx(value)])


def test_costs_that_hardly_differ_are_drawn_from_0() -> None:
    rows = [row(70, backbone=b, seconds=s) for b, s in zip(THREE, (100, 101, 102), strict=True)]
    assert draw_cost(comparison_of(*rows)).axes[1].get_xlim() == (0, pytest.approx(1.15 * 102))


def test_few_plain_numbers_on_a_logarithmic_axis() -> None:
    rows = [row(70, backbone=b, seconds=s) for b, s in zip(THREE, (2, 20, 100), strict=True)]
    axes = draw_cost(comparison_of(*rows)).axes[1]
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown == [2, 5, 10, 20, 50, 100]
    assert axes.xaxis.get_major_formatter()(50, 0) == "50"
