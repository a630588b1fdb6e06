"""What accuracy costs: against bytes moved and against time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.comparisons import Comparison
from experiments.reporting.style import line_of, new_figure


def draw_cost(comparison: Comparison) -> Figure:
    """Draw AVG on the global test set against seconds and, in a federation, bytes; a point each.

    A point is a backbone's mean over its seeds.
    """
    rows = comparison.network.copy()
    rows["gigabytes"] = (rows["bytes_sent"] + rows["bytes_received"]) / 1e9
    rows["minutes"] = rows["seconds"] / 60
    points = rows.groupby("config.backbone")[["avg", "gigabytes", "minutes"]].mean()
    points = points.reindex(comparison.backbones)
    federated = points["gigabytes"].notna().any()
    panels = {
        "gigabytes": "gigabytes sent and received by the server",
        "minutes": "minutes in rounds" if federated else "minutes in epochs",
    }
    shown = {name: label for name, label in panels.items() if points[name].notna().any()}
    figure = new_figure(
        comparison.title, 1.9 + 3.1 * len(shown), 3.8, synthetic=comparison.synthetic
    )
    for number, (name, label) in enumerate(shown.items()):
        axes = figure.add_subplot(1, len(shown), number + 1)
        _scatter(axes, points, name)
        axes.set_xlabel(label)
        axes.set_ylabel("AVG, percent" if number == 0 else "")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    return figure


def _scatter(axes: Axes, points: pd.DataFrame, name: str) -> None:
    for backbone, point in points.iterrows():
        line = line_of(str(backbone))
        axes.plot(
            point[name],
            point["avg"],
            linestyle="",
            marker=line.marker,
            color=line.colour,
            markersize=line.size,
            fillstyle=line.fill,
            label=str(backbone),
        )
    values = points[name].dropna().to_numpy()
    if values.max() > 3 * max(values.min(), np.finfo(float).tiny):
        axes.set_xscale("log")
        axes.margins(0.1)
    else:
        axes.set_xlim(0, 1.15 * values.max() or 1)
    axes.grid()
    axes.spines[["right", "top"]].set_visible(False)
