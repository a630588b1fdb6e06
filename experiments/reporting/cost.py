"""AVG against bytes sent and against time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from experiments.reporting.comparisons import Comparison
from experiments.reporting.style import line_of, new_figure

_BYTES = {"kilobytes": 1e3, "megabytes": 1e6, "gigabytes": 1e9, "terabytes": 1e12}
_TIMES = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}


@dataclass(frozen=True)
class Cost:
    """The costs of some points on an axis.

    Attributes:
        values: of each point, in the unit of the label.
        symbol: of the unit, if each tick has its own prefix; otherwise empty.
    """

    label: str
    values: pd.Series
    symbol: str = ""

    def scale(self, axes: Axes) -> None:
        """Scale the axis: from 0, or logarithmic if costs differ more than tenfold."""
        highest, range_ = self.values.max(), _range(self.values)
        if range_ <= 10:
            # From 0, so that small differences do not look large.
            axes.set_xlim(0, 1.15 * highest or 1)
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            return
        axes.set_xscale("log")
        axes.margins(0.1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if range_ <= 100 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_formatter(EngFormatter(self.symbol) if self.symbol else plain)


def mean_costs(comparison: Comparison, keys: list[str]) -> pd.DataFrame:
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


def costs_of(points: pd.DataFrame) -> Iterator[Cost]:
    """Return the costs of `mean_costs` for drawing: bytes, if any were sent, and seconds.

    The unit is the largest in which the highest cost is at least two. If bytes differ more than a
    hundredfold, each tick has its own unit.
    """
    federated = points["bytes"].notna().any()
    if federated and _range(points["bytes"]) > 100:
        yield Cost("sent and received by the server", points["bytes"], "B")
    elif federated:
        yield _in_unit(points["bytes"], _BYTES, "sent and received by the server")
    yield _in_unit(points["seconds"], _TIMES, "in rounds" if federated else "in epochs")


def draw_cost(comparison: Comparison) -> Figure:
    """Draw AVG on the global test set against bytes, in a federation, and seconds.

    A point is a backbone's mean over its seeds.
    """
    points = mean_costs(comparison, ["backbone"])
    costs = list(costs_of(points))
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
        finish_axes(axes, cost)
        axes.set_xlabel(cost.label)
    figure.axes[0].set_ylabel("AVG, percent")
    figure.axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def finish_axes(axes: Axes, cost: Cost) -> None:
    """Set scale and style of axes after all points are drawn."""
    cost.scale(axes)
    axes.grid()
    axes.spines[["right", "top"]].set_visible(False)


def _in_unit(costs: pd.Series, units: dict[str, float], label: str) -> Cost:
    fitting = [name for name, size in units.items() if costs.max() >= 2 * size]
    unit = fitting[-1] if fitting else next(iter(units))
    return Cost(f"{unit} {label}", costs / units[unit])


def _range(costs: pd.Series) -> float:
    return float(costs.max() / max(costs.min(), np.finfo(float).tiny))
