"""What accuracy costs: against bytes moved and against time."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from experiments.reporting.comparisons import Comparison
from experiments.reporting.style import line_of, new_figure


class _Cost(NamedTuple):
    column: str
    label: str
    units: dict[str, float]  # the smallest first


_BYTES = {"kilobytes": 1e3, "megabytes": 1e6, "gigabytes": 1e9, "terabytes": 1e12}
_TIMES = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}


def draw_cost(comparison: Comparison) -> Figure:
    """Draw AVG on the global test set against seconds and, in a federation, bytes; a point each.

    A point is a backbone's mean over its seeds, for each ``trainable`` and ``wire-format`` that
    there is; those that differ stand beside it. The unit is the largest of which the costliest
    point takes two or more.
    """
    rows = comparison.network.copy()
    rows["bytes"] = rows["bytes_sent"] + rows["bytes_received"]
    keys = ["config.backbone", *(f"config.{key}" for key in comparison.varied_traffic)]
    points = rows.groupby(keys)[["avg", "bytes", "seconds"]].mean().reset_index()
    points["place"] = points["config.backbone"].map(comparison.backbones.index)
    points = points.sort_values(["place", *keys[1:]])
    federated = points["bytes"].notna().any()
    costs = [_Cost("seconds", "in rounds" if federated else "in epochs", _TIMES)]
    if federated:
        costs.insert(0, _Cost("bytes", "sent and received by the server", _BYTES))
    width = 1.9 + 3.1 * len(costs)
    figure = new_figure(comparison.title, width, 3.8, synthetic=comparison.synthetic)
    for number, (column, label, units) in enumerate(costs, 1):
        axes = figure.add_subplot(1, len(costs), number)
        unit = _unit(points[column].max(), units)
        _scatter(axes, points[column] / units[unit], points, keys)
        axes.set_xlabel(f"{unit} {label}")
    figure.axes[0].set_ylabel("AVG, percent")
    figure.axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def _unit(highest: float, units: dict[str, float]) -> str:
    fitting = [name for name, size in units.items() if highest >= 2 * size]
    return fitting[-1] if fitting else next(iter(units))


def _scatter(axes: Axes, costs: pd.Series, points: pd.DataFrame, keys: list[str]) -> None:
    named: set[str] = set()
    for cost, average, (backbone, *varied) in zip(
        costs, points["avg"], points[keys].itertuples(index=False), strict=True
    ):
        line = line_of(backbone)
        axes.plot(
            cost,
            average,
            linestyle="",
            marker=line.marker,
            color=line.colour,
            markersize=line.size,
            fillstyle=line.fill,
            zorder=line.zorder,
            label="_nolegend_" if backbone in named else backbone,
        )
        named.add(backbone)
        beside = ", ".join(varied)
        axes.annotate(
            beside, (cost, average), xytext=(5, 4), textcoords="offset points", fontsize=7
        )
    if costs.max() > 10 * max(costs.min(), np.finfo(float).tiny):
        axes.set_xscale("log")
        axes.margins(0.1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        # From 0, so that costs that hardly differ do not seem to.
        axes.set_xlim(0, 1.15 * costs.max() or 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid()
    axes.spines[["right", "top"]].set_visible(False)
