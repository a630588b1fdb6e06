"""The figures of one run's report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import auc

from experiments.reporting.figures import Drawing
from experiments.reporting.run_results import RunResults, TestSet
from experiments.reporting.style import BLACK, GREY, SETTINGS, new_figure, render
from training.score_counts import Histograms

# Lines of clients and classes; with more of them colours repeat with other dashes.
_DASHES = ("-", "--", ":", "-.")
# As many lines a person can tell apart, and as many rows fit a figure; the table has all clients.
_MOST_LINES, _MOST_ROWS = 20, 60


def run_drawings(run: RunResults) -> list[Drawing]:
    """Draw what a run has so far."""
    return [_drawing(*sketch) for sketch in _plan(run)]


def _drawing(name: str, what: str, draw: Callable[[], Figure]) -> Drawing:
    with matplotlib.rc_context(SETTINGS):
        return Drawing(name, name, what, *render(draw(), name))


def _plan(run: RunResults) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    if run.rounds:
        yield "curves", f"training loss and validation figures by {run.unit}", partial(_curves, run)
    if any("clients" in record for record in run.rounds):
        what = "norm of each client's update, and its cosine to the mean update, by round"
        yield "updates", what, partial(_updates, run)
    if 1 < len(run.metrics.get("clients", {})) <= _MOST_ROWS:
        what = "figures of the best model on each client's test split"
        yield "clients", what, partial(_clients, run)
    for number, test_set in enumerate(run.test_sets, start=1):
        what = f"confusion matrix, {test_set.name}: counts, shaded by the share of the true class"
        yield f"confusion-{number}", what, partial(_confusion, run, test_set)
    known = [(t.name, t.histograms) for t in run.test_sets if t.histograms is not None]
    if known:
        yield "roc", "ROC curves: each class against all others", partial(_roc, run, known)
        what = "reliability: how often the predicted class is right, by its probability"
        yield "reliability", what, partial(_reliability, run, known)


def _curves(run: RunResults) -> Figure:
    numbers = [record["round"] for record in run.rounds]
    figure = new_figure(f"{run.name}: by {run.unit}", 7.6, 3.4, synthetic=run.synthetic)
    loss, validation = figure.subplots(1, 2)
    _by_client(loss, run, partial(_of_clients, name="train_loss"))
    loss.plot(numbers, [r["train_loss"] for r in run.rounds], color=BLACK, lw=2, label="mean")
    best_by = str(run.metrics.get("best_by", run.config.best_by))
    figures = dict.fromkeys([best_by, "avg", "bacc"] if best_by != "loss" else ["avg", "bacc"])
    for name, dashes in zip(figures, _DASHES, strict=False):
        values = [record["validation"]["pooled"].get(name) for record in run.rounds]
        shown = [np.nan if value is None else value for value in values]
        validation.plot(numbers, shown, dashes, color=BLACK, lw=1.8, label=name.upper())
    first = next(iter(figures))
    _by_client(validation, run, partial(_of_validation, name=first))
    if best := run.metrics.get("best_round"):
        validation.axvline(best, color=GREY, lw=0.8, ls=":", label=f"best, {run.unit} {best}")
    loss.set_ylabel("training loss")
    thin = f"; thin: {first.upper()} by client" if "clients" in run.rounds[0] else ""
    validation.set_ylabel(f"validation{thin}")
    _finish(figure, [loss, validation], run.unit)
    return figure


def _updates(run: RunResults) -> Figure:
    figure = new_figure("Updates of the clients", 7.6, 3.4, synthetic=run.synthetic)
    norm, cosine = figure.subplots(1, 2)
    for axes, name in ((norm, "norm"), (cosine, "cosine")):
        _by_client(axes, run, partial(_of_updates, name=name), width=1.3)
        axes.set_ylabel(name)
    cosine.set_ylim(-1.05, 1.05)
    _finish(figure, [norm, cosine], run.unit)
    return figure


def _of_clients(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {client: said[name] for client, said in record.get("clients", {}).items()}


def _of_validation(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    blocks = record["validation"].get("clients", {})
    return {client: block.get(name) for client, block in blocks.items()}


def _of_updates(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {client: said["update"][name] for client, said in record.get("clients", {}).items()}


def _by_client(
    axes: Axes,
    run: RunResults,
    values: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    width: float = 0.7,
) -> None:
    """Draw a thin line for each client; rounds that it missed are gaps."""
    found = [values(record) for record in run.rounds]
    numbers = [record["round"] for record in run.rounds]
    clients = list(dict.fromkeys(name for one in found for name in one))
    few = len(clients) <= _MOST_LINES
    for index, client in enumerate(clients):
        line = [one.get(client) for one in found]
        axes.plot(
            numbers,
            [np.nan if value is None else value for value in line],
            _DASHES[index // 10 % len(_DASHES)],
            color=f"C{index % 10}" if few else GREY,
            lw=width if few else 0.3,
            label=client if few else "_",
            marker="." if len(numbers) == 1 else None,
        )


def _finish(figure: Figure, axes: Sequence[Axes], unit: str) -> None:
    for one in axes:
        one.set_xlabel(unit)
        one.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        one.grid()
        one.spines[["right", "top"]].set_visible(False)
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=7.5)


def _clients(run: RunResults) -> Figure:
    clients = run.metrics["clients"]
    height = 1.1 + 0.3 * len(clients)
    figure = new_figure("By client, of the best model", 7.6, height, synthetic=run.synthetic)
    axes = figure.add_subplot()
    names = list(clients)
    for name, marker in (("acc", "s"), ("bacc", "o"), ("auroc", "^")):
        values = [clients[client].get(name) for client in names]
        shown = [np.nan if value is None else value for value in values]
        axes.plot(shown, range(len(names)), marker, label=name.upper(), ms=6, alpha=0.85)
    axes.set_yticks(range(len(names)), [f"{c} (n = {clients[c]['n']})" for c in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("percent, on the client's own test split")
    axes.grid(axis="x")
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1.05))
    return figure


def _confusion(run: RunResults, test_set: TestSet) -> Figure:
    indices = [run.classes.index(label) for label in run.order]
    counts = test_set.confusion[: len(run.classes), : len(run.classes)][np.ix_(indices, indices)]
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.45 * len(indices)
    figure = new_figure(test_set.name, side + 0.6, side, synthetic=run.synthetic)
    axes = figure.add_subplot()
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            text = f"{count}\n{100 * rates[row, column]:.0f} %"
            colour = "white" if rates[row, column] > 0.55 else "black"
            axes.text(column, row, text, ha="center", va="center", size=7, color=colour)
    axes.set_xticks(range(len(indices)), run.order, rotation=45, ha="right")
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
            dashes = _DASHES[index // 10 % len(_DASHES)]
            area = f"{label}, {100 * auc(x, y):.1f}"
            axes.plot(100 * x, 100 * y, dashes, color=f"C{index % 10}", lw=1.3, label=area)
        axes.plot([0, 100], [0, 100], color=GREY, lw=0.7, ls=":")
        axes.set_xlabel("100 − specificity, percent")
        axes.set_ylabel("sensitivity, percent")
        axes.legend(loc="lower right", fontsize=7, title="AUROC", title_fontsize=7)
    return figure


def _reliability(run: RunResults, known: Sequence[tuple[str, Histograms]]) -> Figure:
    figure, panels = _panels("Reliability", known, synthetic=run.synthetic)
    for axes, (_, histograms) in zip(panels, known, strict=True):
        counts = histograms.confidence.sum(axis=1)
        used = counts > 0
        means = 100 * histograms.confidence_sums[used] / counts[used]
        right = 100 * histograms.confidence[used, 1] / counts[used]
        axes.plot([0, 100], [0, 100], color=GREY, lw=0.7, ls=":", label="calibrated")
        sizes = 12 + 160 * counts[used] / counts.max()
        axes.scatter(means, right, s=sizes, alpha=0.8, label="area: number of images")
        axes.plot(means, right, lw=1)
        axes.set_xlabel("probability of the predicted class, percent")
        axes.set_ylabel("how often it is right, percent")
        axes.legend(loc="upper left", fontsize=7)
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
