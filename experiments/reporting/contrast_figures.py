"""The figures of a key's values side by side."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.contrasts import COMPARED, Contrast
from experiments.reporting.style import BLACK, GREY, line_of, new_figure

_DASHES = ("-", "--", ":", "-.")


def draw_contrast(contrast: Contrast) -> Figure:
    """Draw AVG, BACC and AUROC by value: a thin line for each block, their mean in black.

    The mean is over the blocks that have every value.
    """
    figure = new_figure(contrast.title, 7.6, 3.4, synthetic=contrast.synthetic)
    places = np.arange(len(contrast.values))
    of_block = dict(zip(contrast.rows["block"], contrast.rows["config.backbone"], strict=True))
    for axes, score in zip(figure.subplots(1, len(COMPARED)), COMPARED, strict=True):
        table = contrast.side_by_side(score)
        named: set[str] = set()
        for block, values in table.iterrows():
            backbone = "" if contrast.key == "backbone" else str(of_block[block])
            line = line_of(backbone)
            known = values.notna().to_numpy()
            axes.plot(
                places[known],
                values.to_numpy()[known],
                color=line.colour,
                marker=line.marker,
                ms=3.5,
                lw=0.8,
                alpha=0.75,
                label=backbone if backbone and backbone not in named else "_",
            )
            named.add(backbone)
        whole = table.dropna()
        if len(whole) > 1:
            axes.plot(places, whole.mean(), color=BLACK, lw=2.2, marker="o", ms=5, label="mean")
        axes.set_ylabel(f"{score.upper()}, percent")
        axes.set_xticks(places, contrast.values)
        if len("".join(contrast.values)) > 18:
            axes.tick_params(axis="x", rotation=35)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
                label.set_rotation_mode("anchor")
        axes.set_xlim(-0.4, len(places) - 0.6)
        axes.grid(axis="y")
        axes.spines[["right", "top"]].set_visible(False)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside right upper",
        fontsize=8,
    )
    return figure


def draw_contrast_curves(contrast: Contrast, records: Mapping[str, TrialRecord]) -> Figure:
    """Draw validation AVG and training loss by round, the mean over the blocks of each value.

    Over the blocks that have every value, or over all if none has.
    """
    rows = contrast.rows
    if contrast.whole:
        rows = rows[rows["block"].isin(contrast.whole)]
    figure = new_figure(contrast.title, 7.6, 3.2, synthetic=contrast.synthetic)
    unit = "round" if (rows["command"] == "simulate").all() else "epoch"
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(
        panels,
        ("validation_avg", "train_loss"),
        ("validation AVG, percent", "training loss"),
        strict=True,
    ):
        for number, value in enumerate(contrast.values):
            trials = rows.loc[rows["value"] == value, "trial"].unique()
            curves = pd.concat([records[trial].curve[column] for trial in trials], axis=1)
            axes.plot(
                curves.index,
                curves.mean(axis=1),
                _DASHES[number // 10 % len(_DASHES)],
                color=f"C{number % 10}",
                lw=1.5,
                label=value,
                marker="." if len(curves) == 1 else None,
            )
        axes.set_xlabel(unit, color=GREY)
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid()
        axes.spines[["right", "top"]].set_visible(False)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside right upper",
        fontsize=8,
        title=contrast.key,
    )
    return figure
