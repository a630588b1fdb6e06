"""Comparisons to draw, and what a figure says."""

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from experiments.reporting.comparisons import Comparison, compare
from experiments.reporting.style import SETTINGS, render
from tests.experiments.reporting.made_ledger import ledger

THREE = ("convnext_t", "maxvit_t", "swin_b")


def comparison_of(*rows: dict[str, Any]) -> Comparison:
    (comparison,) = compare(ledger(*rows))
    return comparison


def drawn(figure: Figure) -> str:
    """The figure's SVG, its text as text."""
    with matplotlib.rc_context(SETTINGS):
        return render(figure, "figure")[0]
