"""The figure by hospital: from being alone to the federation, a dumbbell for each hospital."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reporting.figures import Drawing
from experiments.reporting.hospital_trials import ALONE, OWN, POOLED, SHARED
from experiments.reporting.hospital_words import signed
from experiments.reporting.hospitals import Hospitals
from experiments.reporting.statistics import ALPHA
from experiments.reporting.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SETTINGS,
    VERMILION,
    new_figure,
    render,
)

_WHAT = "BACC of each hospital alone, in a federation and pooled, by loss"
_PER_ROW = 2  # panels
_DEFAULT = "default"
# Marker, colour, filled, and size in points.
_LOOKS = {
    ALONE: ("o", BLACK, False, 8.0),
    _DEFAULT: ("s", ORANGE, True, 5.0),
    SHARED: ("o", BLUE, True, 8.0),
    OWN: ("D", GREEN, True, 6.5),
    POOLED: ("|", BLACK, True, 15.0),
}


def hospital_drawings(hospitals: Hospitals) -> list[Drawing]:
    """Draw the figure; none if no hospital has figures alone and in a federation."""
    losses = [loss for loss in hospitals.trials.losses if hospitals.best(loss) is not None]
    if not losses:
        return []
    name = f"{hospitals.trials.name}-dumbbell"
    with matplotlib.rc_context(SETTINGS):
        svg, png = render(_draw(hospitals, losses), name)
    return [Drawing(name, hospitals.trials.name, _WHAT, svg, png)]


def _draw(hospitals: Hospitals, losses: list[str]) -> Figure:
    num_rows = -(-len(losses) // _PER_ROW)
    num_columns = min(len(losses), _PER_ROW)
    height = 0.9 + num_rows * (0.75 + 0.42 * len(hospitals.trials.hospitals))
    title = "Does the federation help this hospital? BACC on its own test images, percent"
    width = 5.4 * num_columns + 0.6
    figure = new_figure(title, width, height, synthetic=hospitals.trials.synthetic)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, loss in zip(panels, losses, strict=False):
        _panel(axes, hospitals, loss)
    note = f"bar and number: from alone to the better of both on average; * p < {ALPHA} (Holm)"
    panels[(num_rows - 1) * num_columns].set_xlabel(note, loc="left", color=GREY)
    for axes in panels[len(losses) :]:
        axes.axis("off")
    figure.legend(
        handles=[_handle(kind, words) for kind, words in _legend(hospitals).items()],
        loc="outside lower left",
        ncols=3,
        fontsize=8.5,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    return figure


def _legend(hospitals: Hospitals) -> dict[str, str]:
    default = next((e.method for e in hospitals.trials.entries if e.default), None)
    words = {
        ALONE: "alone",
        _DEFAULT: default or "",
        SHARED: "best global model",
        OWN: "best personal model",
        POOLED: "pooled: everybody's images in one place",
    }
    models = {entry.model for entry in hospitals.trials.entries}
    return {
        kind: said
        for kind, said in words.items()
        if (kind in models or (kind == _DEFAULT and default is not None))
    }


def _handle(kind: str, words: str) -> Line2D:
    marker, colour, filled, size = _LOOKS[kind]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=size,
        markeredgewidth=1.6,
        label=words,
    )


def _panel(axes: Axes, hospitals: Hospitals, loss: str) -> None:
    shown = _shown(hospitals, loss)
    names = hospitals.trials.hospitals
    best = hospitals.best(loss)
    for height, hospital in enumerate(names):
        values = {
            kind: float(row["bacc"])
            for kind, number in shown.items()
            if (row := hospitals.at(number, hospital)) is not None
        }
        axes.axhline(height, color="0.93", linewidth=0.8, zorder=0)
        _bar_and_gain(axes, hospitals, best, hospital, height, values.get(ALONE))
        for kind, value in values.items():
            marker, colour, filled, size = _LOOKS[kind]
            axes.plot(
                value,
                height,
                linestyle="none",
                marker=marker,
                color=colour,
                markerfacecolor=colour if filled else "white",
                markersize=size,
                markeredgewidth=2.0 if kind == POOLED else 1.6,
                zorder=3 if kind in (ALONE, POOLED) else 4,
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.spines[["right", "top", "left"]].set_visible(False)
    chosen = [
        f"best {kind}: {hospitals.entry(shown[kind]).method}"
        for kind in (SHARED, OWN)
        if kind in shown
    ]
    axes.set_title(f"loss {loss}", loc="left", size=9, weight="bold", pad=17)
    axes.annotate(
        "; ".join(chosen), (0, 1), (0, 4), "axes fraction", "offset points", size=8, color=GREY
    )


def _bar_and_gain(
    axes: Axes,
    hospitals: Hospitals,
    best: int | None,
    hospital: str,
    height: int,
    alone: float | None,
) -> None:
    """Draw the bar from being alone to the best federated setting, and write the gain beside it."""
    row = hospitals.at(best, hospital) if best is not None else None
    if alone is None or row is None or pd.isna(row["gain"]):
        return
    colour = BLUE if row["gain"] >= 0 else VERMILION
    sure = bool(row["p_holm"] < ALPHA)
    axes.plot(
        [alone, alone + row["gain"]],
        [height, height],
        color=colour,
        linewidth=5,
        alpha=0.3,
        zorder=1,
    )
    interval = f"({signed(row['gain_low'])} to {signed(row['gain_high'])})"
    axes.annotate(
        f"{signed(row['gain'])}{'*' if sure else ''}  {interval}",
        (1.0, height),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        size=8.5,
        color=colour,
        weight="bold" if sure else "normal",
    )


def _shown(hospitals: Hospitals, loss: str) -> dict[str, int]:
    """Return the entries that are drawn, by kind; those drawn later hide the earlier ones."""
    found: dict[str, int] = {}
    for number, entry in enumerate(hospitals.trials.entries):
        if entry.loss == loss and entry.model in (ALONE, POOLED):
            found[entry.model] = number
        if entry.loss == loss and entry.default:
            found[_DEFAULT] = number
    for model in (SHARED, OWN):
        number_of_best = hospitals.best(loss, [model])
        if number_of_best is not None:
            found[model] = number_of_best
    return found
