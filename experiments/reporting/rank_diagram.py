"""The critical-difference diagram: mean ranks, and which backbones do not differ."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.statistics import ALPHA, RankTest
from experiments.reporting.style import ALARM, BLACK, GREY, new_figure


def draw_ranks(title: str, test: RankTest, *, synthetic: bool) -> Figure:
    """Draw mean ranks, the best at the left; thick bars join backbones that do not differ.

    As in Demšar, JMLR 7 (2006), figure 1.
    """
    ranks, cliques = test.mean_ranks, test.cliques()
    first, last, num_left = 1, len(ranks), (len(ranks) + 1) // 2
    # Heights in rows: the scale at 0, the bars below it, then the labels.
    foot = -0.6 - 0.5 * len(cliques)
    lowest = foot - num_left
    figure = new_figure(title, 7.6, 1.25 + 0.25 * (2.4 - lowest), synthetic=synthetic)
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
