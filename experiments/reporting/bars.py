"""Figure 2 of the study, and whatever else is best shown as bars: they begin at 0."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.reporting.comparisons import Comparison
from experiments.reporting.statistics import summary
from experiments.reporting.style import BLACK, BLUE, GREEN, GREY, ORANGE, new_figure

_HATCHES = ("", "///", "...", "xxx", "\\\\\\")

# What a bar is called and its colour.
HEADS = {
    "network": ("network", "0.75"),
    "knn": ("+ KNN", BLUE),
    "svm": ("+ SVM", ORANGE),
    "rf": ("+ Random Forest", GREEN),
}


def draw_heads(comparison: Comparison) -> Figure:
    """Draw AVG of the network and of each head on its features, a group for each backbone."""
    table = summary(comparison.judged[comparison.judged["unit"] == "image"])
    order = [name for name in comparison.backbones if name in set(table["backbone"])]
    means, deviations = (
        table.pivot(index="backbone", columns="model", values=name).loc[order]
        for name in ("avg", "avg_sd")
    )
    bars = {model: look for model, look in HEADS.items() if model in set(table["model"])}
    return _draw(comparison, means, deviations, bars, "AVG, percent", "on the global test set")


def draw_metrics(comparison: Comparison, bars: Mapping[str, tuple[str, str]]) -> Figure:
    """Draw the network's metrics, a group for each backbone.

    Args:
        comparison: what is drawn.
        bars: of each metric, label and colour.
    """
    table = summary(comparison.network).set_index("backbone")
    deviations = table[[f"{name}_sd" for name in bars]].set_axis(list(bars), axis=1)
    where = "on the global test set; it takes three backbones for a spider plot"
    return _draw(comparison, table[list(bars)], deviations, bars, "percent", where)


def _draw(
    comparison: Comparison,
    means: pd.DataFrame,
    deviations: pd.DataFrame,
    bars: Mapping[str, tuple[str, str]],
    label: str,
    where: str,
) -> Figure:
    width = min(9.6, max(6.0, 1.6 + 0.2 * len(means) * len(bars)))
    figure = new_figure(comparison.title, width, 3.9, synthetic=comparison.synthetic)
    axes = figure.add_subplot()
    thickness = 0.84 / len(bars)
    for number, (column, (name, colour)) in enumerate(bars.items()):
        axes.bar(
            np.arange(len(means)) + (number - (len(bars) - 1) / 2) * thickness,
            means[column].to_numpy(),
            thickness,
            yerr=deviations[column].fillna(0).to_numpy() if deviations[column].any() else None,
            label=name,
            color=colour,
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            error_kw={"ecolor": BLACK, "elinewidth": 0.9, "capsize": 2},
        )
    axes.set_xticks(np.arange(len(means)), means.index)
    if len(means) > 6:
        axes.tick_params(axis="x", rotation=35)
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right")
            text.set_rotation_mode("anchor")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(label)
    axes.set_ylim(0, 100)
    axes.grid(axis="y")
    axes.margins(x=0.02)
    axes.spines[["right", "top"]].set_visible(False)
    whiskers = ", whiskers: standard deviation over the seeds" if deviations.any(axis=None) else ""
    axes.set_xlabel(f"{where}{whiskers}", color=GREY)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=len(bars))
    return figure
