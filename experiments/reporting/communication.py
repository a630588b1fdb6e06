"""AVG against the data sent: for each backbone, trained part and wire format."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import FillStyleType

from experiments.reporting.comparisons import TRAFFIC, Comparison
from experiments.reporting.cost import costs_of, finish_axes, mean_costs
from experiments.reporting.style import BLACK, BLUE, GREEN, GREY, VERMILION, new_figure

# Colour and marker show what is trained, the marker's filling shows the wire format.
_TRAINABLE = ((BLACK, "o"), (GREEN, "^"), (VERMILION, "s"), (BLUE, "D"))
_WIRE_FORMATS: tuple[FillStyleType, ...] = ("full", "left", "none")
TRAINABLE = dict(zip(TRAFFIC["trainable"], _TRAINABLE, strict=True))
WIRE_FORMATS = dict(zip(TRAFFIC["wire-format"], _WIRE_FORMATS, strict=True))

_ROW, _AROUND = 2.1, 1.3  # inches


def draw_communication(comparison: Comparison) -> Figure:
    """Draw AVG on the global test set against bytes, in a federation, and seconds.

    Each backbone has its own row. A point is a mean over the seeds; a line joins the wire formats
    of one value of ``trainable``.

    Args:
        comparison: of trials that differ in ``TRAFFIC``.
    """
    points = mean_costs(comparison, ["backbone", *TRAFFIC])
    costs = list(costs_of(points))
    backbones = comparison.backbones
    figure = new_figure(
        comparison.title,
        1.9 + 3.1 * len(costs),
        _AROUND + _ROW * len(backbones),
        synthetic=comparison.synthetic,
    )
    grid = figure.subplots(len(backbones), len(costs), sharex="col", sharey=True, squeeze=False)
    for row, backbone in zip(grid, backbones, strict=True):
        own = points[points["backbone"] == backbone]
        for axes, cost in zip(row, costs, strict=True):
            _draw(axes, own.assign(cost=cost.values))
            finish_axes(axes, cost)
        row[0].set_ylabel("AVG, percent")
        row[0].set_title(backbone, loc="left", fontsize=9)
    for axes, cost in zip(grid[-1], costs, strict=True):
        axes.set_xlabel(cost.label)
    handles = list(_legend(points))
    grid[0][-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def _draw(axes: Axes, points: pd.DataFrame) -> None:
    """Draw a backbone's points, whose cost is in column ``cost``."""
    for trainable, (colour, marker) in TRAINABLE.items():
        ways = points[points["trainable"] == trainable].set_index("wire-format")
        ways = ways.loc[[name for name in WIRE_FORMATS if name in ways.index]]
        axes.plot(ways["cost"], ways["avg"], color=colour, linewidth=0.8)
        for name, way in ways.iterrows():
            axes.add_line(_mark(colour, marker, WIRE_FORMATS[str(name)], way["cost"], way["avg"]))


def _mark(
    colour: str, marker: str, fill: FillStyleType, x: float = 0, y: float = 0, label: str = ""
) -> Line2D:
    return Line2D(
        [x],
        [y],
        linestyle="",
        marker=marker,
        color=colour,
        fillstyle=fill,
        markerfacecoloralt="white",
        markersize=6,
        label=label,
    )


def _legend(points: pd.DataFrame) -> Iterator[Line2D]:
    trained, sent = set(points["trainable"]), set(points["wire-format"])
    for name, (colour, marker) in TRAINABLE.items():
        if name in trained:
            yield _mark(colour, marker, "full", label=name)
    for name, fill in WIRE_FORMATS.items():
        if name in sent:
            yield _mark(GREY, "o", fill, label=name)
