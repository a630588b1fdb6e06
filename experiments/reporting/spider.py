"""Spider plots of metrics over backbones: Figures 3 and 4 of the study (docs/study.md)."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.reporting.bars import METRICS, draw_metrics
from experiments.reporting.comparisons import Comparison
from experiments.reporting.statistics import summary
from experiments.reporting.style import GREY, new_figure

# Dashes and marker of each metric.
LINES = {
    "acc": ("-", "o"),
    "bacc": ((0, (5, 1.5)), "s"),
    "pre": ((0, (1, 1.2)), "^"),
    "f1": ((0, (5, 1.5, 1, 1.5)), "D"),
    "avg": ("-", ""),
}
FEWEST = 3


def draw_spider(comparison: Comparison) -> Figure:
    """Draw the network's mean figures over the seeds, a ray for each backbone.

    With fewer than three backbones there is no polygon, and bars are drawn instead.
    """
    table = summary(comparison.network).set_index("backbone")
    if len(table) < FEWEST:
        return draw_metrics(comparison)
    figure = new_figure(comparison.title, 6.0, 6.2, synthetic=comparison.synthetic)
    axes = figure.add_subplot(projection="polar")
    axes.set_theta_zero_location("N")  # type: ignore[attr-defined]
    axes.set_theta_direction(-1)  # type: ignore[attr-defined]

    angles = np.linspace(0, 2 * np.pi, len(table), endpoint=False)
    for metric, (dashes, marker) in LINES.items():
        name, colour = METRICS[metric]
        values = table[metric].to_numpy()
        axes.plot(
            np.append(angles, angles[0]),
            np.append(values, values[0]),
            label=name,
            color=colour,
            linestyle=dashes,
            marker=marker,
            markersize=3.5,
            linewidth=2.4 if metric == "avg" else 1.2,
        )
    centre, rim, step = scale(table[list(LINES)].to_numpy())
    axes.set_ylim(centre, rim)
    rings = np.arange(centre, rim + step / 2, step)
    axes.set_yticks(rings, [f"{ring:g}" for ring in rings], color=GREY, size=7.5)
    axes.set_rlabel_position(np.degrees(angles[1]) / 2)  # type: ignore[attr-defined]
    axes.set_xticks(angles, table.index)
    for angle, text in zip(angles, axes.get_xticklabels(), strict=True):
        side = math.sin(angle)
        text.set_horizontalalignment(
            "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        )
    axes.tick_params(axis="x", pad=3)
    axes.spines["polar"].set_color("0.8")
    axes.grid(color="0.85")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.09), ncols=len(LINES), handlelength=2.8)
    axes.set_xlabel(
        f"percent, from {centre:g} in the centre to {rim:g} at the rim; {_seeds(table['seeds'])}",
        labelpad=12,
        color=GREY,
    )
    return figure


def scale(values: np.ndarray) -> tuple[float, float, float]:
    """Return the centre, the rim and the distance of rings of a spider plot, in percent.

    The centre is 0 or, if all figures are large, a round number well below the smallest.
    """
    low, high = float(values.min()), float(values.max())
    step = 20 if high - low > 45 else 10 if high - low > 12 else 5
    centre = max(0, step * (math.floor(low / step) - 1))
    return centre, min(100, step * math.ceil(max(high, centre + 2 * step) / step)), step


def _seeds(counts: pd.Series) -> str:
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "one seed"
    return f"mean over {most} seeds" if fewest == most else f"mean over {fewest} to {most} seeds"
