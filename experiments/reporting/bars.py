"""Metrics over backbones as bars and spiders: Figures 2 to 4 of the study (docs/study.md)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.comparisons import Comparison
from experiments.reporting.statistics import summary
from experiments.reporting.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    TILTED,
    VERMILION,
    new_figure,
)

_HATCHES = ("", "///", "...", "xxx", "\\\\\\")

# Label and colour of each model's bar.
_MODELS = {
    "network": ("network", "0.75"),
    "knn": ("+ KNN", BLUE),
    "svm": ("+ SVM", ORANGE),
    "rf": ("+ Random Forest", GREEN),
}

# Label and colour of each metric's bar. ACC and REC share one bar or line, because weighted recall
# equals accuracy by definition.
METRICS = {
    "acc": ("ACC = REC", BLUE),
    "bacc": ("BACC", VERMILION),
    "pre": ("PRE", GREEN),
    "f1": ("F1", ORANGE),
    "avg": ("AVG", BLACK),
}

# Height in inches of each panel below the first, and of the space around the first.
_PANEL, _AROUND = 2.5, 3.9


def draw_heads(comparison: Comparison) -> Figure:
    """Draw the figures of heads beside the network's, a group of bars for each backbone.

    The first panel has AVG of the network and of each head on its features; below it each head has
    a panel with all its metrics.
    """
    table = summary(comparison.judged[comparison.judged["unit"] == "image"])
    order = [name for name in comparison.backbones if name in set(table["backbone"])]
    models = {model: look for model, look in _MODELS.items() if model in set(table["model"])}
    means, deviations = (
        table.pivot(index="backbone", columns="model", values=name).loc[order]
        for name in ("avg", "avg_sd")
    )
    panels = [_Panel(means, deviations, models, "AVG, percent")]
    for model, (name, _) in models.items():
        if model != "network":
            rows = table[table["model"] == model].set_index("backbone").reindex(order)
            panels.append(_by_metric(rows, f"{name}, percent"))
    return _draw(comparison, panels, f"on {comparison.judged_on}")


@dataclass(frozen=True)
class _Panel:
    """One plot of grouped bars."""

    means: pd.DataFrame  # a row for each backbone, a column for each bar of a group
    deviations: pd.DataFrame  # of the same shape; NaN with one seed
    bars: Mapping[str, tuple[str, str]]  # of each column, label and colour
    label: str


def _by_metric(table: pd.DataFrame, label: str) -> _Panel:
    deviations = table[[f"{name}_sd" for name in METRICS]].set_axis(list(METRICS), axis=1)
    return _Panel(table[list(METRICS)], deviations, METRICS, label)


def _draw(comparison: Comparison, panels: Sequence[_Panel], where: str) -> Figure:
    groups = len(panels[0].means)
    width = min(9.6, max(6.0, 1.6 + 0.2 * groups * max(len(panel.bars) for panel in panels)))
    height = _AROUND + _PANEL * (len(panels) - 1)
    figure = new_figure(comparison.title, width, height, synthetic=comparison.synthetic)
    column = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    drawn: Mapping[str, tuple[str, str]] = {}
    for axes, panel in zip(column, panels, strict=True):
        _draw_panel(axes, panel)
        if panel.bars != drawn:  # equal bars need no second legend
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=len(panel.bars))
        drawn = panel.bars
    last = column[-1]
    tilted = TILTED if groups > 6 else {}
    last.set_xticks(np.arange(groups), panels[0].means.index, **tilted)
    varied = any(panel.deviations.any(axis=None) for panel in panels)
    whiskers = ", whiskers: standard deviation over the seeds" if varied else ""
    last.set_xlabel(f"{where}{whiskers}", color=GREY)
    return figure


def _draw_panel(axes: Axes, panel: _Panel) -> None:
    thickness = 0.84 / len(panel.bars)
    for number, (column, (name, colour)) in enumerate(panel.bars.items()):
        deviations = panel.deviations[column]
        axes.bar(
            np.arange(len(panel.means)) + (number - (len(panel.bars) - 1) / 2) * thickness,
            panel.means[column].to_numpy(),
            thickness,
            yerr=deviations.fillna(0).to_numpy() if deviations.any() else None,
            label=name,
            color=colour,
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            error_kw={"ecolor": BLACK, "elinewidth": 0.9, "capsize": 2},
        )
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(panel.label)
    axes.set_ylim(0, 100)
    axes.grid(axis="y")
    axes.margins(x=0.02)


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
        where = f"on {comparison.judged_on}; it takes three backbones for a spider plot"
        return _draw(comparison, [_by_metric(table, "percent")], where)
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
