"""AVG against bytes sent and against time; also for each backbone, trained part and wire format."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.typing import FillStyleType

from experiments.reporting.comparisons import TRAFFIC, Comparison
from experiments.reporting.style import BLACK, BLUE, GREEN, GREY, VERMILION, line_of, new_figure

_BYTES = {"kilobytes": 1e3, "megabytes": 1e6, "gigabytes": 1e9, "terabytes": 1e12}
_TIMES = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}


class _Cost(NamedTuple):
    """The costs of some points on an axis."""

    label: str
    values: pd.Series  # of each point, in the unit of the label
    symbol: str = ""  # of the unit, if each tick has its own prefix; otherwise empty


def _means(comparison: Comparison, keys: list[str]) -> pd.DataFrame:
    """Return means of AVG on the global test set, bytes and seconds over the networks' seeds.

    Args:
        comparison: of these networks.
        keys: of the config; the first is ``backbone``. A row for each combination of their values.
    """
    rows = comparison.network.rename(columns=lambda name: name.removeprefix("config."))
    rows = rows.assign(
        bytes=rows["bytes_sent"] + rows["bytes_received"],
        backbone=pd.Categorical(rows["backbone"], comparison.backbones),
    )
    means = rows.groupby(keys, observed=True)[["avg", "bytes", "seconds"]].mean()
    return means.reset_index()


def _costs_of(points: pd.DataFrame) -> Iterator[_Cost]:
    """Return the costs of `_means` for drawing: bytes, if any were sent, and seconds.

    The unit is the largest in which the highest cost is at least two. If bytes differ more than a
    hundredfold, each tick has its own unit.
    """
    federated = points["bytes"].notna().any()
    if federated and _range(points["bytes"]) > 100:
        yield _Cost("sent and received by the server", points["bytes"], "B")
    elif federated:
        yield _in_unit(points["bytes"], _BYTES, "sent and received by the server")
    yield _in_unit(points["seconds"], _TIMES, "in rounds" if federated else "in epochs")


def draw_cost(comparison: Comparison) -> Figure:
    """Draw AVG on the global test set against bytes, in a federation, and seconds.

    A point is a backbone's mean over its seeds.
    """
    points = _means(comparison, ["backbone"])
    costs = list(_costs_of(points))
    width = 1.9 + 3.1 * len(costs)
    figure = new_figure(comparison.title, width, 3.8, synthetic=comparison.synthetic)
    for number, cost in enumerate(costs, 1):
        axes = figure.add_subplot(1, len(costs), number)
        for backbone, average, value in zip(
            points["backbone"], points["avg"], cost.values, strict=True
        ):
            line = line_of(backbone)
            axes.plot(
                value,
                average,
                linestyle="",
                marker=line.marker,
                color=line.colour,
                markersize=line.size,
                fillstyle=line.fill,
                zorder=line.zorder,
                label=backbone,
            )
        _scale(axes, cost)
        axes.set_xlabel(cost.label)
    figure.axes[0].set_ylabel("AVG, percent")
    figure.axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def _scale(axes: Axes, cost: _Cost) -> None:
    """Scale axes after all points are drawn: from 0, so that small differences do not look large,
    or logarithmic if costs differ more than tenfold."""
    axes.grid()
    highest, range_ = cost.values.max(), _range(cost.values)
    if range_ <= 10:
        axes.set_xlim(0, 1.15 * highest or 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        return
    axes.set_xscale("log")
    axes.margins(0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if range_ <= 100 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(EngFormatter(cost.symbol) if cost.symbol else plain)


def _in_unit(costs: pd.Series, units: dict[str, float], label: str) -> _Cost:
    fitting = [name for name, size in units.items() if costs.max() >= 2 * size]
    unit = fitting[-1] if fitting else next(iter(units))
    return _Cost(f"{unit} {label}", costs / units[unit])


def _range(costs: pd.Series) -> float:
    return float(costs.max() / max(costs.min(), np.finfo(float).tiny))


# Colour and marker show what is trained, the marker's filling shows the wire format.
_LOOKS = ((BLACK, "o"), (GREEN, "^"), (VERMILION, "s"), (BLUE, "D"))
_FILLS: tuple[FillStyleType, ...] = ("full", "left", "none")
_TRAINABLE = dict(zip(TRAFFIC["trainable"], _LOOKS, strict=True))
_WIRE_FORMATS = dict(zip(TRAFFIC["wire-format"], _FILLS, strict=True))

_ROW, _AROUND = 2.1, 1.3  # inches


def draw_communication(comparison: Comparison) -> Figure:
    """Draw AVG on the global test set against bytes, in a federation, and seconds.

    Each backbone has its own row. A point is a mean over the seeds; a line joins the wire formats
    of one value of ``trainable``.

    Args:
        comparison: of trials that differ in ``TRAFFIC``.
    """
    points = _means(comparison, ["backbone", *TRAFFIC])
    costs = list(_costs_of(points))
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
            _scale(axes, cost)
        row[0].set_ylabel("AVG, percent")
        row[0].set_title(backbone, loc="left", fontsize=9)
    for axes, cost in zip(grid[-1], costs, strict=True):
        axes.set_xlabel(cost.label)
    handles = list(_legend(points))
    grid[0][-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def _draw(axes: Axes, points: pd.DataFrame) -> None:
    """Draw a backbone's points, whose cost is in column ``cost``."""
    for trainable, (colour, marker) in _TRAINABLE.items():
        ways = points[points["trainable"] == trainable].set_index("wire-format")
        ways = ways.loc[[name for name in _WIRE_FORMATS if name in ways.index]]
        axes.plot(ways["cost"], ways["avg"], color=colour, linewidth=0.8)
        for name, way in ways.iterrows():
            axes.add_line(_mark(colour, marker, _WIRE_FORMATS[str(name)], way["cost"], way["avg"]))


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
    for name, (colour, marker) in _TRAINABLE.items():
        if name in trained:
            yield _mark(colour, marker, "full", label=name)
    for name, fill in _WIRE_FORMATS.items():
        if name in sent:
            yield _mark(GREY, "o", fill, label=name)
