"""Every figure is drawn, says what it shows, and is the same when drawn again."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.bars import draw_heads, draw_spider, scale
from experiments.reporting.cost import draw_cost
from experiments.reporting.figures import draw_all, draw_convergence, draw_ranks
from experiments.reporting.findings import Findings
from experiments.reporting.statistics import Ranking, rank_test
from experiments.reporting.style import SETTINGS, line_of, new_figure, render
from models.registry import BACKBONES
from tests.experiments.reporting.drawn_figures import THREE, comparison_of, drawn
from tests.experiments.reporting.made_ledger import row
from training.data_description import SYNTHETIC


def test_a_report_has_these_figures(campaign: Path) -> None:
    found = {path.name for path in (campaign / "report" / "figures").iterdir()}
    names = [
        *(f"centralized-clip-brats2019-vit-l-14-{kind}" for kind in ("metrics", "convergence")),
        "centralized-clip-brats2019-vit-l-14-cost",
        *(f"federated-classifier-ham10000-fedprox-sgd-{k}" for k in ("metrics", "convergence")),
        "federated-classifier-ham10000-fedprox-sgd-cost",
        *(f"heads-on-deep-features-ham10000-{kind}" for kind in ("heads", "metrics")),
        *(f"heads-on-deep-features-ham10000-{kind}" for kind in ("convergence", "cost")),
        "heads-on-deep-features-ranks-of-the-backbones",
    ]
    assert found == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}


def test_every_figure_says_synthetic_and_is_drawn(campaign: Path) -> None:
    for path in (campaign / "report" / "figures").glob("*.svg"):
        text = "".join(ET.parse(path).getroot().itertext())
        assert SYNTHETIC in text, path.name
        with Image.open(path.with_suffix(".png")) as image:
            assert min(image.size) > 300
            assert np.asarray(image.convert("L")).std() > 5  # not blank


def test_the_same_findings_give_the_same_bytes(findings: Findings, campaign: Path) -> None:
    few = replace(findings, comparisons=findings.comparisons[:1], rankings=[])
    drawings = draw_all(few)
    assert len(drawings) == 3
    for one in drawings:
        path = campaign / "report" / "figures" / one.name
        assert path.with_suffix(".svg").read_text() == one.svg
        assert path.with_suffix(".png").read_bytes() == one.png


def test_a_spider_has_a_ray_for_each_backbone_and_a_line_for_each_metric() -> None:
    figure = draw_spider(comparison_of(*(row(70, backbone=name) for name in THREE)))
    (axes,) = figure.axes
    assert axes.name == "polar"
    assert [label.get_text() for label in axes.get_xticklabels()] == list(THREE)
    # Accuracy and weighted recall are equal by definition.
    assert [line.get_label() for line in axes.lines] == ["ACC = REC", "BACC", "PRE", "F1", "AVG"]
    for line in axes.lines:
        angles, values = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert angles == pytest.approx([0, 2 * np.pi / 3, 4 * np.pi / 3, 0])
        assert list(values) == [70] * 4
    assert "percent, from 65 in the centre to 75 at the rim; one seed" in drawn(figure)


def test_the_mean_over_seeds_is_drawn() -> None:
    rows = [row(avg, backbone=n, seed=s) for n in THREE for s, avg in enumerate((70, 80))]
    figure = draw_spider(comparison_of(*rows))
    assert list(np.asarray(figure.axes[0].lines[0].get_ydata())) == [75] * 4
    assert "mean over 2 seeds" in drawn(figure)


def test_two_backbones_are_bars_from_zero() -> None:
    figure = draw_spider(comparison_of(*(row(70, backbone=name) for name in THREE[:2])))
    (axes,) = figure.axes
    assert axes.name == "rectilinear"
    assert axes.get_ylim() == (0, 100)
    assert len(axes.patches) == 2 * 5
    assert "it takes three backbones for a spider plot" in drawn(figure)


def test_heads_have_a_panel_of_avg_and_each_head_one_of_its_metrics() -> None:
    """Of each head, figures of its own: of maxvit_t and swin_b BACC is 1 and 2 below the rest."""
    averages = {"network": 60, "knn": 70, "svm": 80}
    rows = [
        row(avg, backbone=name, command="heads", model=model, bacc=avg - below)
        for below, name in ((1, "maxvit_t"), (2, "swin_b"))
        for model, avg in averages.items()
    ]
    figure = draw_heads(comparison_of(*rows))
    first, knn, svm = figure.axes

    def heights(axes: Axes) -> dict[str, list[float]]:
        return {
            str(bars.get_label()): [patch.get_height() for patch in bars]
            for bars in axes.containers
            if isinstance(bars, BarContainer)
        }

    assert heights(first) == {"network": [60, 60], "+ KNN": [70, 70], "+ SVM": [80, 80]}
    for axes, name, avg in ((knn, "+ KNN", 70), (svm, "+ SVM", 80)):
        assert axes.get_ylabel() == f"{name}, percent"
        flat = {key: [avg, avg] for key in ("ACC = REC", "PRE", "F1", "AVG")}
        assert heights(axes) == flat | {"BACC": [avg - 1, avg - 2]}
        assert axes.get_ylim() == (0, 100)
    assert [label.get_text() for label in svm.get_xticklabels()] == ["maxvit_t", "swin_b"]
    assert (knn.get_legend() is None, svm.get_legend() is None) == (False, True)
    assert "on 1,512 images of the global test set" in drawn(figure)


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 0, (0, 10, 5)),
        (14.3, 71, (0, 80, 20)),
        (62, 90, (50, 90, 10)),
        (85, 88, (80, 90, 5)),
        (99, 100, (90, 100, 5)),
        (100, 100, (95, 100, 5)),
    ],
)
def test_a_spiders_scale(low: float, high: float, expected: tuple[float, float, float]) -> None:
    assert scale(np.array([low, high])) == expected


def test_backbones_differ_without_colour() -> None:
    """Marker, dashes and filling tell the study's twelve apart."""
    study = list(BACKBONES)[:12]
    looks = {(line_of(name).marker, line_of(name).dashes) for name in study}
    assert len(looks) == 12
    assert len({(line_of(name).marker, line_of(name).fill) for name in study}) == 12
    assert line_of("something-new").marker == "."


def record(*averages: float | None) -> TrialRecord:
    curve = pd.DataFrame(
        {"train_loss": 1.0, "validation_loss": 1.0, "validation_avg": averages},
        index=pd.RangeIndex(1, len(averages) + 1, name="round"),
        dtype=float,
    )
    return TrialRecord({}, curve, ["a", "b"], {})


def test_convergence_is_the_mean_over_seeds_highest_first() -> None:
    rows = [row(70, backbone="swin_b", seed=s) for s in (0, 1)] + [row(70, backbone="swin_t")]
    records = {
        "swin_b-0": record(10, 20, 30),
        "swin_b-1": record(20, 30, 40),
        "swin_t-0": record(10, None, 90),
    }
    (axes,) = draw_convergence(comparison_of(*rows), records).axes
    first, second = axes.lines
    assert (first.get_label(), second.get_label()) == ("swin_t", "swin_b")
    assert list(np.asarray(second.get_xdata())) == [1, 2, 3]
    assert list(np.asarray(second.get_ydata())) == [15, 25, 35]
    assert axes.get_xlabel() == "round"


def test_the_mean_ends_with_the_shortest_run() -> None:
    """A run that patience ended after two rounds: the mean would jump to the other's 60."""
    rows = [row(70, backbone="swin_b", seed=s) for s in (0, 1)]
    records = {"swin_b-0": record(10, 20), "swin_b-1": record(40, 50, 60)}
    (axes,) = draw_convergence(comparison_of(*rows), records).axes
    drawn = np.asarray(axes.lines[0].get_ydata(), float)
    assert drawn[~np.isnan(drawn)].tolist() == [25, 35]


def test_a_single_round_is_drawn() -> None:
    figure = draw_convergence(comparison_of(row(70)), {"convnext_t-0": record(10)})
    assert "validation AVG" in drawn(figure)
    assert "there is only one round" in drawn(figure)


@pytest.mark.parametrize(
    "num_rounds, expected", [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (50, [10, 20, 30, 40, 50])]
)
def test_ticks_stand_at_whole_rounds(num_rounds: int, expected: list[int]) -> None:
    records = {"convnext_t-0": record(*range(num_rounds))}
    (axes,) = draw_convergence(comparison_of(row(70)), records).axes
    low, high = axes.get_xlim()
    assert low < 1
    assert num_rounds < high
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == expected


LONG = {
    **{"data set": "BraTS2019", "text encoder": "ViT-L/14"},
    **{"text tower": "RANDOM text tower (random, seed 0)", "strategy": "FedProx"},
    **{"optimizer": "Adadelta", "image-size": "224", "modalities": "t1,t1ce,t2,flair"},
    "fingerprint": "0123456789ab",
}


@pytest.mark.parametrize("backbones", [THREE, tuple(BACKBONES)[:12]], ids=["3", "12"])
@pytest.mark.parametrize("draw", ["spider", "convergence", "cost"])
def test_title_and_legend_have_their_own_room(draw: str, backbones: tuple[str, ...]) -> None:
    rows = [row(70, backbone=name, synthetic=True) for name in backbones]
    comparison = replace(comparison_of(*rows), settings=LONG)
    records = {f"{name}-0": record(10, 20) for name in backbones}
    with matplotlib.rc_context(SETTINGS):
        figure = {
            "spider": lambda: draw_spider(comparison),
            "convergence": lambda: draw_convergence(comparison, records),
            "cost": lambda: draw_cost(comparison),
        }[draw]()
        render(figure, "figure")
    assert " ".join(figure.get_suptitle().split()) == comparison.title
    texts = [text for text in figure.texts if text.get_text() in (figure.get_suptitle(), SYNTHETIC)]
    legend = figure.axes[-1].get_legend()
    assert legend is not None
    title, alarm = (text.get_window_extent() for text in texts)
    key = legend.get_window_extent()
    for box in (title, alarm, key):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert alarm.y1 <= key.y0 < key.y1 <= title.y0
    if draw != "spider":  # whose legend stands above the circle
        assert not any(key.overlaps(axes.bbox) for axes in figure.axes)


def test_the_diagram_names_every_backbone_with_its_rank() -> None:
    blocks = pd.DataFrame([[90.0, 80, 70]] * 2, columns=list(THREE))
    text = drawn(draw_ranks(Ranking("Ranks", False, rank_test(blocks), "")))
    for words in ("convnext_t  1.00", "maxvit_t  2.00", "3.00  swin_b", "critical difference 2.34"):
        assert words in text
    assert SYNTHETIC not in text


def assert_whole(figure: Figure) -> None:
    """Every word that is drawn lies within the figure."""
    drawn(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    ticks = [
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")  # some stand out of view and are not drawn
    ]
    for text in set(figure.findobj(Text)) - set(ticks):
        if text.get_text() and text.get_visible():
            bounds = text.get_window_extent(renderer)
            inside = bounds.x0 >= -1 and bounds.y0 >= -1
            assert inside, text.get_text()
            inside = bounds.x1 <= figure.bbox.width + 1 and bounds.y1 <= figure.bbox.height + 1
            assert inside, text.get_text()


@pytest.mark.parametrize("num", [1, 2, 3, len(BACKBONES)])
def test_no_note_is_cut(num: int) -> None:
    """Few backbones make narrow figures, several seeds long notes."""
    rows = [
        row(avg, backbone=name, seed=seed, seconds=10.0)
        for seed, avg in enumerate((60.0, 64.0, 71.0))
        for name in list(BACKBONES)[:num]
    ]
    comparison = replace(comparison_of(*rows), kind="A comparison with a title of many words")
    heads = [r | {"command": "heads", "model": model} for r in rows for model in ("network", "rf")]
    assert_whole(draw_spider(comparison))
    assert_whole(draw_heads(comparison_of(*heads)))
    assert_whole(draw_cost(comparison))


def test_a_note_that_is_too_wide_is_broken_into_lines() -> None:
    figure = new_figure("title", 6.0, 3.0, synthetic=True)
    axes = figure.add_subplot()
    axes.set_xlabel("a note of words " * 20)
    axes.set_title("a title of words " * 10, loc="left")
    assert_whole(figure)
    assert axes.get_xlabel().split() == ("a note of words " * 20).split()
    assert axes.get_xlabel().count("\n") >= 2
