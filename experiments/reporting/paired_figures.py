"""The figures of a paired comparison: curves together, and the differences as a forest plot."""

from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_partition.datasets import in_naming_order
from experiments.reporting.figures import Drawing
from experiments.reporting.paired import PairedComparison
from experiments.reporting.paired_tables import score_names
from experiments.reporting.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SETTINGS,
    SKY,
    VERMILION,
    new_figure,
    render,
)
from training.scores import ALL_SCORES

# Of the sides; with more of them colours repeat with other dashes and markers.
_COLOURS = (BLACK, BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)
_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")


def paired_drawings(comparison: PairedComparison) -> list[Drawing]:
    """Draw the differences, those by class, and the curves."""
    of_classes = [n for n in score_names(comparison) if ALL_SCORES[n].by_class]
    plans: list[tuple[str, str, Callable[[PairedComparison], Figure]]] = [
        ("differences", "difference of every score, with its 95 % interval", _differences),
    ]
    if of_classes:
        what = "difference of the figures of each class, with its 95 % interval"
        plans.append(("differences-by-class", what, _by_class))
    if any(len(model.curve) for model in comparison.models):
        what = "training loss and validation AVG by round"
        plans.append(("curves", what, _curves))
    drawings = []
    for name, what, draw in plans:
        with matplotlib.rc_context(SETTINGS):
            drawings.append(Drawing(name, name, what, *render(draw(comparison), name)))
    return drawings


def _differences(comparison: PairedComparison) -> Figure:
    names = score_names(comparison)
    panels = [
        ("percentage points", [name for name in names if ALL_SCORES[name].in_percent]),
        ("in the score's own unit", [name for name in names if not ALL_SCORES[name].in_percent]),
    ]
    panels = [panel for panel in panels if panel[1]]
    rows = [len(names) for _, names in panels]
    height = 1.0 + 0.7 * len(panels) + (0.2 + 0.1 * len(comparison.others)) * sum(rows)
    figure = new_figure(_title(comparison), 7.6, height, synthetic=_synthetic(comparison))
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, (label, names) in zip(grid, panels, strict=True):
        _forest(axes, comparison, names, [_label(name) for name in names])
        axes.set_xlabel(label, color=GREY)
    _legend(grid[0])
    return figure


def _by_class(comparison: PairedComparison) -> Figure:
    scores = [n for n in score_names(comparison) if ALL_SCORES[n].by_class]
    classes = in_naming_order(comparison.classes)
    height = 1.7 + (0.2 + 0.1 * len(comparison.others)) * len(classes)
    figure = new_figure(
        f"By class: {_title(comparison)}", 7.6, height, synthetic=_synthetic(comparison)
    )
    grid = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axes, score in zip(grid, scores, strict=True):
        _forest(axes, comparison, [f"{score}.{label}" for label in classes], classes)
        axes.set_xlabel(f"{score.upper()}, percentage points")
    _legend(grid[0])
    return figure


def _forest(
    axes: Axes, comparison: PairedComparison, names: Sequence[str], labels: Sequence[str]
) -> None:
    """Draw a row for each score, and in it a point with its interval for each further side."""
    others = comparison.others
    for number, side in enumerate(others):
        offset = 0.6 * ((number + 0.5) / len(others) - 0.5)
        found = [comparison.scores.differences[number][name] for name in names]
        shown = [
            (row + offset, one)
            for row, one in enumerate(found)
            if one is not None and one.low is not None and one.high is not None
        ]
        colour, _, marker = _look(number + 1)
        values = [one.value for _, one in shown]
        # A percentile interval need not hold the value itself.
        reach = [
            [max(0.0, one.value - (one.low or 0.0)) for _, one in shown],
            [max(0.0, (one.high or 0.0) - one.value) for _, one in shown],
        ]
        heights = [height for height, _ in shown]
        axes.errorbar(
            values,
            heights,
            xerr=reach if shown else None,
            fmt=marker,
            color=colour,
            ms=4.5,
            capsize=2.5,
            lw=1.2,
            label=side.title,
        )
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_yticks(range(len(names)), list(labels))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.spines[["right", "top", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _curves(comparison: PairedComparison) -> Figure:
    models = comparison.models
    figure = new_figure("By round", 7.6, 3.2, synthetic=_synthetic(comparison))
    panels = figure.subplots(1, 2)
    units = " or ".join(sorted({model.unit for model in models}, reverse=True))
    labels = ("training loss", "validation AVG, percent")
    for axes, name, label in zip(panels, ("train_loss", "validation_avg"), labels, strict=True):
        for number, side in enumerate(comparison.sides):
            colour, dashes, _ = _look(number)
            for model in side.models:
                axes.plot(
                    model.curve.index,
                    model.curve[name],
                    dashes,
                    color=colour,
                    lw=1.5 if len(side.models) == 1 else 0.9,
                    label=side.title if model is side.models[0] else "_",
                    marker="." if len(model.curve) == 1 else None,
                )
        axes.set_ylabel(label)
        axes.set_xlabel(units)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid()
        axes.spines[["right", "top"]].set_visible(False)
    _legend(panels[0])
    return figure


def _look(number: int) -> tuple[str, str, str]:
    """Return colour, dashes and marker of a side."""
    again = number // len(_COLOURS)
    return (
        _COLOURS[number % len(_COLOURS)],
        _DASHES[again % len(_DASHES)],
        _MARKERS[again % len(_MARKERS)],
    )


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)


def _label(name: str) -> str:
    return name.upper() if ALL_SCORES[name].higher_is_better else f"{name.upper()} (low: best)"


def _title(comparison: PairedComparison) -> str:
    others = comparison.others
    return f"{others[0].letter if len(others) == 1 else 'Each'} minus {comparison.first.title}"


def _synthetic(comparison: PairedComparison) -> bool:
    return comparison.synthetic_line is not None
