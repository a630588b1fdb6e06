"""Draws the figures of a report: validation by round, critical differences, and all others."""

from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.bars import draw_heads, draw_spider
from experiments.reporting.comparisons import Comparison, slug, unit_of
from experiments.reporting.contrast_figures import draw_contrast, draw_contrast_curves
from experiments.reporting.contrasts import Contrast
from experiments.reporting.cost import draw_communication, draw_cost
from experiments.reporting.findings import Findings
from experiments.reporting.statistics import ALPHA, Ranking
from experiments.reporting.style import (
    ALARM,
    BLACK,
    GREY,
    Drawing,
    by_round,
    drawn,
    line_of,
    new_figure,
)


def draw_convergence(comparison: Comparison, records: dict[str, TrialRecord]) -> Figure:
    """Draw the pooled validation AVG of each round, a line for each backbone, as far as all seeds
    went: beyond it, the mean would jump to those of the rest.

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
        ).mean(axis=1, skipna=False)
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
    unit = unit_of(rows)
    by_round(axes, unit, "validation AVG, percent")
    where = "on the validation images"
    if comparison.federated:
        where = "on the clients' validation images, pooled"
    axes.set_title(f"{where}; there is only one {unit}" if alone else where, loc="left", size=8.5)
    margin = 0.5 if alone else 0.02 * (rounds[-1] - rounds[0])
    axes.set_xlim(rounds[0] - margin, rounds[-1] + margin)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1, 1.05), title="by the last value", handlelength=3.4
    )
    return figure


def draw_ranks(ranking: Ranking) -> Figure:
    """Draw mean ranks, the best at the left; thick bars join backbones that do not differ.

    As in Demšar, JMLR 7 (2006), figure 1.

    Args:
        ranking: with a test.
    """
    test = ranking.test
    assert test is not None
    ranks, cliques = test.mean_ranks, test.cliques()
    first, last, num_left = 1, len(ranks), (len(ranks) + 1) // 2
    # Heights in rows: the scale at 0, the bars below it, then the labels.
    foot = -0.6 - 0.5 * len(cliques)
    lowest = foot - num_left
    height = 1.25 + 0.25 * (2.4 - lowest)
    figure = new_figure(ranking.title, 7.6, height, synthetic=ranking.synthetic)
    axes = figure.add_subplot()
    reach = 0.42 * (last - first)
    axes.set_xlim(first - reach, last + reach)
    axes.set_ylim(lowest + 0.4, 2.4)
    axes.axis("off")

    axes.plot([first, last], [0, 0], color=BLACK, linewidth=1)
    for rank in range(first, last + 1):
        axes.plot([rank, rank], [0, 0.25], color=BLACK, linewidth=1)
        axes.annotate(str(rank), (rank, 0.35), ha="center", va="bottom", size=8)
    half = test.critical_difference / 2
    axes.errorbar([first + half], [1.8], xerr=half, color=GREY, capsize=3, linewidth=1.4)
    _write(axes, f"critical difference {2 * half:.2f}", first + 2 * half, 1.8, right=True)
    for number, (low, high) in enumerate(cliques):
        axes.plot(
            [low - 0.04, high + 0.04],
            [-0.45 - 0.5 * number] * 2,
            color=ALARM,
            linewidth=4,
            solid_capstyle="butt",
        )
    for number, (backbone, rank) in enumerate(ranks.items()):
        on_the_right = number >= num_left
        height = foot - (len(ranks) - 1 - number if on_the_right else number)
        edge = last + 0.1 * reach if on_the_right else first - 0.1 * reach
        axes.plot([rank, rank, edge], [0, height, height], color=BLACK, linewidth=0.8)
        label = f"{rank:.2f}  {backbone}" if on_the_right else f"{backbone}  {rank:.2f}"
        _write(axes, label, edge, height, right=on_the_right)
    axes.set_title(
        f"mean rank by AVG over {test.num_blocks} blocks, 1 is the best; Friedman's "
        f"p = {test.p_value:.2g}\nred bars join backbones that do not differ at {ALPHA:g} "
        "(Nemenyi)",
        loc="left",
        size=8.5,
    )
    return figure


def _write(axes: Axes, text: str, x: float, y: float, *, right: bool) -> None:
    """Write text beside a point, at its right or left."""
    axes.annotate(
        text,
        (x, y),
        (5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
    )


def draw_all(findings: Findings) -> list[Drawing]:
    """Draw every figure but those by hospital, those of a comparison one after another.

    It uses one process: a figure takes a quarter of a second, and a campaign may need the other
    cores.
    """
    return list(_drawings(findings))


def _drawings(findings: Findings) -> Iterator[Drawing]:
    records = findings.records
    for comparison in findings.chapters:
        draw = partial(_draw, comparison)
        if comparison.judged["model"].nunique() > 1:
            what = "AVG of the network and of each head, then each head's metrics, by backbone"
            yield draw("-heads", what, draw_heads)
        if len(comparison.network):
            yield draw("-metrics", "the metrics of the network, by backbone", draw_spider)
        if _validated(comparison.rows, records):
            yield draw("-convergence", "validation AVG, by round", draw_convergence, records)
        if len(comparison.network):
            yield draw("-cost", "AVG against bytes and time, by backbone", draw_cost)
    for contrast in findings.contrasts:
        what = f"AVG, BACC and AUROC on the global test set, by {contrast.key}"
        yield _draw(contrast, "", what, draw_contrast)
        if _validated(contrast.rows, records):
            what = f"validation AVG and training loss by round, by {contrast.key}"
            yield _draw(contrast, "-convergence", what, draw_contrast_curves, records)
    for together in findings.communication:
        if together.varied_traffic and len(together.network):
            what = "AVG against bytes and time, by backbone, trained part and wire format"
            yield _draw(together, "-communication", what, draw_communication)
    for ranking in findings.rankings:
        if ranking.test is not None:
            yield _draw(ranking, "", "critical-difference diagram", draw_ranks)


def _draw(
    shown: Comparison | Contrast | Ranking,
    suffix: str,
    what: str,
    draw: Callable[..., Figure],
    *others: object,
) -> Drawing:
    name = f"{slug(shown.title)}{suffix}"
    return drawn(name, what, draw, shown, *others, about=shown.title)


def _validated(rows: pd.DataFrame, records: dict[str, TrialRecord]) -> bool:
    """Return whether any of these trials has a curve to draw."""
    curves = [records[trial].curve for trial in rows["trial"].unique()]
    return any(curve["validation_avg"].notna().any() for curve in curves)
