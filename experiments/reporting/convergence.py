"""Validation AVG by round."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.comparisons import Comparison
from experiments.reporting.style import line_of, new_figure


def draw_convergence(comparison: Comparison, records: dict[str, TrialRecord]) -> Figure:
    """Draw the pooled validation AVG of each round, a line for each backbone.

    Args:
        comparison: its trials are drawn as means over the seeds.
        records: of the trials, by id.
    """
    rows = comparison.rows
    curves = {}
    for backbone in comparison.backbones:
        trials = rows.loc[rows["config.backbone"] == backbone, "trial"].unique()
        curves[backbone] = pd.concat(
            [records[trial].curve["validation_avg"] for trial in trials], axis=1
        ).mean(axis=1)
    # The legend has the order of the lines' last values, the highest first.
    order = sorted(curves, key=lambda name: -curves[name].dropna().iloc[-1:].sum())

    rounds = sorted(set().union(*(curve.index for curve in curves.values())))
    alone = len(rounds) == 1
    figure = new_figure(comparison.title, 7.6, 4.0, synthetic=comparison.synthetic)
    axes = figure.add_subplot()
    for position, backbone in enumerate(order):
        line, curve = line_of(backbone), curves[backbone]
        axes.plot(
            curve.index,
            curve,
            label=backbone,
            color=line.colour,
            dashes=line.dashes or (None, None),
            linewidth=1.3,
            marker=line.marker,
            markersize=line.size if alone else 4,
            fillstyle=line.fill if alone else "full",
            zorder=line.zorder,
            markevery=(position % max(1, len(curve) // 6), max(1, len(curve) // 6)),
        )
    federated = bool((rows["command"] == "simulate").any())
    unit = "round" if federated else "epoch"
    axes.set_xlabel(unit)
    axes.set_ylabel("validation AVG, percent")
    ticks = MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(ticks)
    where = "on the clients' validation images, pooled" if federated else "on the validation images"
    axes.set_title(f"{where}; there is only one {unit}" if alone else where, loc="left", size=8.5)
    margin = 0.5 if alone else 0.02 * (rounds[-1] - rounds[0])
    axes.set_xlim(rounds[0] - margin, rounds[-1] + margin)
    axes.grid()
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1, 1.05), title="by the last value", handlelength=3.4
    )
    return figure
