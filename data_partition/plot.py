"""A plot of a partition."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from operation.files import replacing

# Okabe and Ito's palette: distinguishable with any colour vision.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
# For further classes, in the same colours.
_HATCHES = ("", "///", "...", "xxx")


def plot_counts(counts: pd.DataFrame, path: Path, *, title: str = "") -> None:
    """Draw the number of images of each class, split and client as stacked bars.

    Args:
        counts: from ``partition.split_counts``.
        title: in red, above the plot.
    """
    clients = counts.index.get_level_values("client").unique()
    splits = counts.index.get_level_values("split").unique()
    # The largest class is at the bottom; there its differences move the other classes least.
    classes = counts.sum().sort_values(ascending=False, kind="stable").index
    positions = np.arange(len(counts)) + np.repeat(np.arange(len(clients)), len(splits)) * 0.8
    totals = counts.sum(axis=1).to_numpy()

    # Agg draws at most 2¹⁶ pixels across.
    width = min(max(6.4, 2.4 + 0.55 * positions[-1]), 400.0)
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    axes = figure.add_subplot()
    foot = np.zeros(len(counts))
    for place, name in enumerate(classes):
        heights = counts[name].to_numpy()
        axes.bar(
            positions,
            heights,
            bottom=foot,
            label=f"{name} ({heights.sum()})",
            color=_COLOURS[place % len(_COLOURS)],
            hatch=_HATCHES[place // len(_COLOURS) % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.4,
        )
        foot += heights
    for position, total in zip(positions, totals, strict=True):
        axes.annotate(
            str(total), (position, total), (0, 2), textcoords="offset points", ha="center", size=8
        )
    axes.set_xticks(positions, counts.index.get_level_values("split"), rotation=45, ha="right")
    centres = positions.reshape(len(clients), len(splits)).mean(axis=1)
    above = axes.secondary_xaxis("top")
    above.set_xticks(centres, clients)
    above.tick_params(length=0)
    axes.set_ylabel("images")
    axes.margins(x=0.02)
    axes.set_ylim(0, 1.08 * max(*totals, 1))
    axes.spines[["right", "top"]].set_visible(False)
    above.spines["top"].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="0.9")
    # The legend has the order of the stacked bars.
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    if title:
        figure.suptitle(title, color="#B00000", size=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
