"""The figures of a paired comparison: curves together, and the differences as a forest plot."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_partition.datasets import in_naming_order
from experiments.reporting.paired import PairedComparison
from experiments.reporting.paired_tables import score_label, score_names
from experiments.reporting.style import (
    BLACK,
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SKY,
    VERMILION,
    Drawing,
    by_round,
    drawn,
    new_figure,
)
from training.score_differences import Difference
from training.scores import ALL_SCORES

# Of the sides; with more of them colours repeat with other dashes and markers.
_COLOURS = (BLACK, BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)
_MARKERS = ("o", "s", "^", "D")


def paired_drawings(comparison: PairedComparison) -> list[Drawing]:
    """Draw the differences, those by client and by class, and the curves."""
    plans: list[tuple[str, str, Callable[[PairedComparison], Figure]]] = [
        ("differences", "difference of every score, with its 95 % interval", _differences),
    ]
    if comparison.of_clients:
        what = "difference in BACC by client, with its 95 % interval"
        plans.append(("differences-by-client", what, _by_client))
    if any(ALL_SCORES[name].by_class for name in score_names(comparison)):
        what = "difference of the figures of each class, with its 95 % interval"
        plans.append(("differences-by-class", what, _by_class))
    if any(len(model.curve) for model in comparison.models):
        plans.append(("curves", "training loss and validation AVG by round", _curves))
    return [drawn(*plan, comparison) for plan in plans]


def _differences(comparison: PairedComparison) -> Figure:
    names = score_names(comparison)
    units = {
        "percentage points": [name for name in names if ALL_SCORES[name].in_percent],
        "in the score's own unit": [name for name in names if not ALL_SCORES[name].in_percent],
    }
    panels = {unit: names for unit, names in units.items() if names}
    height = 1.0 + 0.7 * len(panels) + _row_height(comparison) * len(names)
    figure = new_figure(_title(comparison), 7.6, height, synthetic=comparison.synthetic)
    rows = [len(names) for names in panels.values()]
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, (unit, names) in zip(grid, panels.items(), strict=True):
        _forest(axes, comparison, _rows(comparison, names), [score_label(n) for n in names])
        axes.set_xlabel(unit, color=GREY)
    _legend(grid[0])
    return figure


def _by_client(comparison: PairedComparison) -> Figure:
    rows: dict[str, list[Difference | None]] = {}
    for one in comparison.of_clients:  # of each client in the order of the sides
        rows.setdefault(one.client, []).append(Difference(one.difference, one.low, one.high))
    height = 1.7 + _row_height(comparison) * len(rows)
    title = f"By client: {_title(comparison)}"
    figure = new_figure(title, 7.6, height, synthetic=comparison.synthetic)
    axes = figure.subplots()
    _forest(axes, comparison, list(rows.values()), list(rows))
    axes.set_xlabel("BACC, percentage points")
    _legend(axes)
    return figure


def _by_class(comparison: PairedComparison) -> Figure:
    scores = [n for n in score_names(comparison) if ALL_SCORES[n].by_class]
    classes = in_naming_order(comparison.classes)
    height = 1.7 + _row_height(comparison) * len(classes)
    title = f"By class: {_title(comparison)}"
    figure = new_figure(title, 7.6, height, synthetic=comparison.synthetic)
    grid = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axes, score in zip(grid, scores, strict=True):
        rows = _rows(comparison, [f"{score}.{label}" for label in classes])
        _forest(axes, comparison, rows, classes)
        axes.set_xlabel(f"{score.upper()}, percentage points")
    _legend(grid[0])
    return figure


def _row_height(comparison: PairedComparison) -> float:
    return 0.2 + 0.1 * len(comparison.others)


def _rows(comparison: PairedComparison, names: Sequence[str]) -> list[list[Difference | None]]:
    return [[of[name] for of in comparison.scores.differences] for name in names]


def _forest(
    axes: Axes,
    comparison: PairedComparison,
    rows: Sequence[Sequence[Difference | None]],
    labels: Sequence[str],
) -> None:
    """Draw a point with its interval for each further side in every row."""
    others = comparison.others
    for number, side in enumerate(others):
        offset = 0.6 * ((number + 0.5) / len(others) - 0.5)
        shown = [
            (row + offset, one.value, one.low, one.high)
            for row, differences in enumerate(rows)
            if (one := differences[number]) is not None
            and one.low is not None
            and one.high is not None
        ]
        colour, _, marker = _look(number + 1)
        axes.errorbar(
            [value for _, value, _, _ in shown],
            [height for height, *_ in shown],
            # A percentile interval need not hold the value itself.
            xerr=[
                [max(0.0, value - low) for _, value, low, _ in shown],
                [max(0.0, high - value) for _, value, _, high in shown],
            ],
            fmt=marker,
            color=colour,
            ms=4.5,
            capsize=2.5,
            lw=1.2,
            label=side.title,
        )
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_yticks(range(len(rows)), list(labels))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _curves(comparison: PairedComparison) -> Figure:
    figure = new_figure("By round", 7.6, 3.2, synthetic=comparison.synthetic)
    units = " or ".join(sorted({model.unit for model in comparison.models}, reverse=True))
    panels = {"train_loss": "training loss", "validation_avg": "validation AVG, percent"}
    for axes, name in zip(figure.subplots(1, 2), panels, strict=True):
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
        by_round(axes, units, panels[name])
    _legend(figure.axes[0])
    return figure


def _look(number: int) -> tuple[str, str, str]:
    """Return colour, dashes and marker of a side."""
    again, place = divmod(number, len(_COLOURS))
    return _COLOURS[place], DASHES[again % len(DASHES)], _MARKERS[again % len(_MARKERS)]


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)


def _title(comparison: PairedComparison) -> str:
    others = comparison.others
    return f"{others[0].letter if len(others) == 1 else 'Each'} minus {comparison.first.title}"
