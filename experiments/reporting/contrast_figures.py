"""The figures of a key's values side by side."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.comparisons import unit_of
from experiments.reporting.contrasts import COMPARED, Contrast
from experiments.reporting.style import BLACK, TILTED, by_round, line_of, look, new_figure


def draw_contrast(contrast: Contrast) -> Figure:
    """Draw AVG, BACC and AUROC by value: a thin line for each block, their mean in black.

    The mean is over the blocks that have every value.
    """
    figure = new_figure(contrast.title, 7.6, 3.4, synthetic=contrast.synthetic)
    places = np.arange(len(contrast.values))
    tilted = TILTED if len("".join(contrast.values)) > 18 else {}
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
        axes.set_xticks(places, contrast.values, **tilted)
        axes.set_xlim(-0.4, len(places) - 0.6)
        axes.grid(axis="y")
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right upper", fontsize=8)
    return figure


def draw_contrast_curves(contrast: Contrast, records: Mapping[str, TrialRecord]) -> Figure:
    """Draw validation AVG and training loss by round, the mean over the blocks of each value.

    Over the blocks that have every value, or over all if none has; as far as all of them went.
    """
    rows = contrast.shared
    figure = new_figure(contrast.title, 7.6, 3.2, synthetic=contrast.synthetic)
    panels = {"validation_avg": "validation AVG, percent", "train_loss": "training loss"}
    for axes, column in zip(figure.subplots(1, 2), panels, strict=True):
        for number, value in enumerate(contrast.values):
            trials = rows.loc[rows["value"] == value, "trial"].unique()
            curves = pd.concat([records[trial].curve[column] for trial in trials], axis=1)
            mean, marker = curves.mean(axis=1, skipna=False), "." if len(curves) == 1 else None
            axes.plot(mean.index, mean, lw=1.5, label=value, marker=marker, **look(number))
        by_round(axes, unit_of(rows), panels[column])
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right upper", fontsize=8, title=contrast.key)
    return figure
