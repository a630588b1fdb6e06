"""The figure by hospital: from training alone to the federation, a dumbbell for each hospital."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reporting.hospital_trials import ALONE, FEDERATED, OWN, POOLED, SHARED
from experiments.reporting.hospitals import Hospitals
from experiments.reporting.statistics import ALPHA
from experiments.reporting.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    Drawing,
    drawn,
    new_figure,
)
from experiments.reporting.tables import signed, signed_range

_WHAT = "BACC of each hospital alone, in a federation and pooled, by loss"
_PER_ROW = 2  # panels
_DEFAULT = "default"


def _look(marker: str, colour: str, size: float, *, width: float = 1.6, filled: bool = True) -> Any:
    return {
        "linestyle": "none",
        "marker": marker,
        "color": colour,
        "markerfacecolor": colour if filled else "white",
        "markersize": size,
        "markeredgewidth": width,
    }


# Of the points; those drawn later hide the earlier ones.
_LOOKS = {
    ALONE: _look("o", BLACK, 8.0, filled=False),
    POOLED: _look("|", BLACK, 15.0, width=2.0),
    _DEFAULT: _look("s", ORANGE, 5.0),
    SHARED: _look("o", BLUE, 8.0),
    OWN: _look("D", GREEN, 6.5),
}


def hospital_drawings(hospitals: Hospitals) -> list[Drawing]:
    """Draw the figure; none if no hospital has figures alone and in a federation."""
    losses = [loss for loss in hospitals.trials.losses if hospitals.best(loss) is not None]
    if not losses:
        return []
    name = hospitals.trials.name
    return [drawn(f"{name}-dumbbell", _WHAT, _draw, hospitals, losses, about=name)]


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
    note = f"bar and number: from alone to the better of both by validation; * p < {ALPHA} (Holm)"
    panels[(num_rows - 1) * num_columns].set_xlabel(note, loc="left", color=GREY)
    for axes in panels[len(losses) :]:
        axes.axis("off")
    entries = hospitals.trials.entries
    words = {
        ALONE: "alone",
        _DEFAULT: next((entry.method for entry in entries if entry.default), ""),
        SHARED: "best global model (by validation)",
        OWN: "best personal model (by validation)",
        POOLED: "pooled: everybody's images in one place",
    }
    there = {entry.model for entry in entries} | ({_DEFAULT} if words[_DEFAULT] else set())
    handles = [Line2D([], [], label=words[kind], **_LOOKS[kind]) for kind in words if kind in there]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=3,
        fontsize=8.5,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    return figure


def _panel(axes: Axes, hospitals: Hospitals, loss: str) -> None:
    shown = {kind: hospitals.best(loss, kind) for kind in FEDERATED}
    for number, entry in enumerate(hospitals.trials.entries):
        if entry.loss == loss and entry.model in (ALONE, POOLED):
            shown[entry.model] = number
        if entry.loss == loss and entry.default:
            shown[_DEFAULT] = number
    names, best = hospitals.trials.hospitals, hospitals.best(loss)
    for height, hospital in enumerate(names):
        axes.axhline(height, color="0.93", linewidth=0.8, zorder=0)
        for place, (kind, look) in enumerate(_LOOKS.items()):
            drawn_one = shown.get(kind)
            row = None if drawn_one is None else hospitals.at(drawn_one, hospital)
            if row is not None:
                axes.plot(row["bacc"], height, zorder=3 + place / 10, **look)
                if kind == ALONE and best is not None:
                    _bar_and_gain(axes, row["bacc"], hospitals.at(best, hospital), height)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"loss {loss}", loc="left", size=9, weight="bold", pad=17)
    said = "; ".join(
        f"best {kind}: {hospitals.entry(chosen).method}"
        for kind in FEDERATED
        if (chosen := shown[kind]) is not None
    )
    axes.annotate(said, (0, 1), (0, 4), "axes fraction", "offset points", size=8, color=GREY)


def _bar_and_gain(axes: Axes, alone: float, best: "pd.Series[Any] | None", height: int) -> None:
    """Draw the bar from training alone to the best federated setting; write the gain beside it."""
    if best is None or pd.isna(best["gain"]):
        return
    gain, sure = best["gain"], best["p_holm"] < ALPHA
    colour = BLUE if gain >= 0 else VERMILION
    axes.plot([alone, alone + gain], [height] * 2, color=colour, lw=5, alpha=0.3, zorder=1)
    interval = signed_range(best["gain_low"], best["gain_high"], 1)
    axes.annotate(
        f"{signed(gain, 1)}{'*' if sure else ''}  ({interval})",
        (1.0, height),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        size=8.5,
        color=colour,
        weight="bold" if sure else "normal",
    )
