"""How validation AVG grows, round by round."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.reporting.comparisons import Comparison
from experiments.reporting.style import line_of, new_figure
from experiments.reporting.trials import TrialRecord


def draw_convergence(comparison: Comparison, records: dict[str, TrialRecord]) -> Figure:
    """Draw the pooled validation AVG of each round, a line for each backbone.

    Args:
        comparison: whose trials are drawn, means over the seeds.
        records: of each trial by its id.
    """
    rows = comparison.rows
    curves = {}
    for backbone in comparison.backbones:
        trials = rows.loc[rows["config.backbone"] == backbone, "trial"].unique()
        curves[backbone] = pd.concat(
            [records[trial].curve["validation_avg"] for trial in trials], axis=1
        ).mean(axis=1)
    # The legend in the order in which the lines end, the highest first.
    order = sorted(curves, key=lambda name: -curves[name].dropna().iloc[-1:].sum())

    figure = new_figure(comparison.title, 7.6, 4.2, synthetic=comparison.synthetic)
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
            markersize=4,
            markevery=(position % max(1, len(curve) // 6), max(1, len(curve) // 6)),
        )
    federated = bool((rows["command"] == "simulate").any())
    axes.set_xlabel("round" if federated else "epoch")
    axes.set_ylabel("validation AVG, percent")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(
        "on the clients' validation images, pooled" if federated else "on the validation images",
        loc="left",
        size=8.5,
    )
    axes.margins(x=0.02)
    axes.grid()
    axes.spines[["right", "top"]].set_visible(False)
    figure.legend(loc="outside right upper", title="by the last value", handlelength=3.4)
    return figure
