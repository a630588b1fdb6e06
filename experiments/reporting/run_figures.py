"""The figures of one run's report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc

from experiments.reporting.run_results import RunResults, TestSet
from experiments.reporting.style import (
    BLACK,
    DASHES,
    GREY,
    TILTED,
    Drawing,
    by_round,
    drawn,
    look,
    new_figure,
)
from training.score_counts import Histograms

# As many lines a person can tell apart, and as many rows fit a figure; the table has all clients.
_MOST_LINES, _MOST_ROWS = 20, 60


def run_drawings(run: RunResults) -> list[Drawing]:
    """Draw what a run has so far."""
    return list(_drawings(run))


def _drawings(run: RunResults) -> Iterator[Drawing]:
    if run.rounds:
        what = f"training loss and validation figures by {run.unit}"
        yield drawn("curves", what, _curves, run)
    if any("clients" in record for record in run.rounds):
        what = "norm of each client's update, and its cosine to the mean update, by round"
        yield drawn("updates", what, _updates, run)
    if 1 < len(run.metrics.get("clients", {})) <= _MOST_ROWS:
        what = "figures on each client's test split"
        yield drawn("clients", what, _clients, run)
    for number, test_set in enumerate(run.test_sets, start=1):
        what = f"confusion matrix, {test_set.name}: counts, shaded by the share of the true class"
        yield drawn(f"confusion-{number}", what, _confusion, run, test_set)
    known = [(t.name, t.histograms) for t in run.test_sets if t.histograms is not None]
    if known:
        yield drawn("roc", "ROC curves: each class against all others", _roc, run, known)
        what = "reliability: how often the predicted class is right, by its probability"
        yield drawn("reliability", what, _reliability, run, known)


def _curves(run: RunResults) -> Figure:
    rounds = [record["round"] for record in run.rounds]
    figure = new_figure(f"{run.name}: by {run.unit}", 7.6, 3.4, synthetic=run.synthetic)
    loss, validation = figure.subplots(1, 2)
    _by_client(loss, rounds, run.rounds, lambda said: said["train_loss"])
    loss.plot(rounds, [r["train_loss"] for r in run.rounds], color=BLACK, lw=2)
    best_by = str(run.metrics.get("best_by", run.config.best_by))
    names = list(dict.fromkeys([best_by, "avg", "bacc"] if best_by != "loss" else ["avg", "bacc"]))
    for name, dashes in zip(names, DASHES, strict=False):
        pooled = [record["validation"]["pooled"].get(name) for record in run.rounds]
        values = np.array(pooled, dtype=float)
        validation.plot(rounds, values, dashes, color=BLACK, lw=1.8, label=name.upper())
    parts = [record["validation"] for record in run.rounds]
    _by_client(validation, rounds, parts, lambda block: block.get(names[0]))
    best = run.metrics.get("best_round")
    if best and "best_rounds" not in run.metrics:  # else each client has its own
        validation.axvline(best, color=GREY, lw=0.8, ls=":", label=f"best {run.unit}: {best}")
    if "clients" in run.rounds[0]:
        for axes, of_client in ((loss, "each client"), (validation, f"{names[0].upper()} of each")):
            axes.set_title(f"thick: all clients; thin: {of_client}", loc="left", size=8)
    _finish(figure, run.unit, "training loss", "validation figures")
    return figure


def _updates(run: RunResults) -> Figure:
    figure = new_figure("Updates of the clients", 7.6, 3.4, synthetic=run.synthetic)
    norm, cosine = figure.subplots(1, 2)
    rounds = [record["round"] for record in run.rounds]
    _by_client(norm, rounds, run.rounds, lambda said: said["update"]["norm"], width=1.3)
    _by_client(cosine, rounds, run.rounds, lambda said: said["update"]["cosine"], width=1.3)
    cosine.set_ylim(-1.05, 1.05)
    _finish(figure, run.unit, "norm of the update", "cosine to the mean update")
    return figure


def _by_client(
    axes: Axes,
    rounds: Sequence[int],
    parts: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], float | None],
    width: float = 0.7,
) -> None:
    """Draw a thin line for each client; rounds that it missed are gaps.

    Args:
        parts: of the rounds' records, with what is said of each of the ``clients``.
        value: of what is said of a client.
    """
    rows = [{c: value(said) for c, said in part.get("clients", {}).items()} for part in parts]
    lines = pd.DataFrame(rows, index=list(rounds), dtype=float)
    for number, client in enumerate(lines):
        style = {**look(number), "lw": width, "label": client}
        if lines.shape[1] > _MOST_LINES:
            style |= {"color": GREY, "lw": 0.3, "label": "_"}
        axes.plot(rounds, lines[client], marker="." if len(rounds) == 1 else None, **style)


def _finish(figure: Figure, unit: str, *labels: str) -> None:
    handles: dict[str, Any] = {}
    for axes, label in zip(figure.axes, labels, strict=True):
        by_round(axes, unit, label)
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=7.5)


def _clients(run: RunResults) -> Figure:
    clients = run.metrics["clients"]
    height = 1.1 + 0.3 * len(clients)
    of = "its own model" if run.metrics.keys() & {"shared", "local_arrays"} else "the best model"
    figure = new_figure(f"By client, of {of}", 7.6, height, synthetic=run.synthetic)
    axes = figure.add_subplot()
    names = list(clients)
    for name, marker in (("acc", "s"), ("bacc", "o"), ("auroc", "^")):
        values = np.array([clients[client].get(name) for client in names], dtype=float)
        axes.plot(values, range(len(names)), marker, label=name.upper(), ms=6, alpha=0.85)
    axes.set_yticks(range(len(names)), [f"{c} (n = {clients[c]['n']})" for c in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("percent, on the client's own test split")
    axes.grid(axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def _confusion(run: RunResults, test_set: TestSet) -> Figure:
    indices = [run.classes.index(label) for label in run.order]
    counts = test_set.confusion[: len(run.classes), : len(run.classes)][np.ix_(indices, indices)]
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.45 * len(indices)
    title = f"Confusion matrix, {test_set.name}"
    figure = new_figure(title, side + 0.6, side, synthetic=run.synthetic)
    axes = figure.add_subplot()
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            text = f"{count}\n{100 * rates[row, column]:.0f} %"
            colour = "white" if rates[row, column] > 0.55 else "black"
            axes.text(column, row, text, ha="center", va="center", size=7, color=colour)
    axes.spines[:].set_visible(True)
    axes.set_xticks(range(len(indices)), run.order, **TILTED)
    axes.set_yticks(range(len(indices)), run.order)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def _roc(run: RunResults, known: Sequence[tuple[str, Histograms]]) -> Figure:
    figure, panels = _panels("ROC by class", known, synthetic=run.synthetic)
    for axes, (_, histograms) in zip(panels, known, strict=True):
        for index, label in enumerate(run.order):
            negative, positive = histograms.of_class[run.classes.index(label)][:, ::-1]
            if not (negative.sum() and positive.sum()):
                continue  # a class without images, or without others, has no curve
            x = np.append(0, np.cumsum(negative)) / negative.sum()
            y = np.append(0, np.cumsum(positive)) / positive.sum()
            area = f"{label}, {100 * auc(x, y):.1f}"
            axes.plot(100 * x, 100 * y, lw=1.3, label=area, **look(index))
        axes.plot([0, 100], [0, 100], color=GREY, lw=0.7, ls=":")
        axes.set_xlabel("100 − specificity, percent")
        axes.set_ylabel("sensitivity, percent")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", fontsize=7, title="AUROC", title_fontsize=7)
        else:
            note = "no curve:\nall images are of one class"
            axes.text(50, 50, note, ha="center", va="center", size=7.5, color=GREY)
    return figure


def _reliability(run: RunResults, known: Sequence[tuple[str, Histograms]]) -> Figure:
    title = "Reliability of the model's own probabilities, without temperature"
    figure, panels = _panels(title, known, synthetic=run.synthetic)
    for axes, (_, histograms) in zip(panels, known, strict=True):
        counts = histograms.confidence.sum(axis=1)
        used = counts > 0
        means = 100 * histograms.confidence_sums[used] / counts[used]
        right = 100 * histograms.confidence[used, 1] / counts[used]
        axes.plot([0, 100], [0, 100], color=GREY, lw=0.7, ls=":")
        sizes = 12 + 160 * counts[used] / counts.max()
        axes.scatter(means, right, s=sizes, alpha=0.8, clip_on=False)
        axes.plot(means, right, color="C0", lw=0.8, alpha=0.5)
        axes.set_xlabel(
            "probability of the predicted class, percent\narea: number of images; dotted: equal"
        )
        axes.set_ylabel("how often it is right, percent")
    return figure


def _panels(
    title: str, known: Sequence[tuple[str, Histograms]], *, synthetic: bool
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with a square panel for each test set, in rows of three."""
    columns = min(3, len(known))
    rows = -(-len(known) // columns)
    figure = new_figure(title, max(4.2, 3.3 * columns), 3.6 * rows, synthetic=synthetic)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, _) in zip(grid, known, strict=False):
        axes.set_title(name, loc="left", size=8.5)
        axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
        axes.grid()
    for axes in grid[len(known) :]:
        axes.remove()
    return figure, list(grid[: len(known)])
