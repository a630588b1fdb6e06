"""The figure of AVG against bytes: a row per backbone, a mark per combination."""

from dataclasses import replace
from typing import get_args

from experiments.reporting.comparisons import TRAFFIC, Comparison, compare, over_traffic
from experiments.reporting.cost import draw_communication
from experiments.reporting.figures import draw_all
from experiments.reporting.findings import Findings
from tests.experiments.reporting.made_ledger import ledger, row
from training.config import ExperimentConfig


def ways(gigabytes: dict[tuple[str, str], float], *backbones: str) -> Comparison:
    """Trials that are trained and sent in some ways; the first has an AVG of 70, the next of 71."""
    rows = [
        row(
            70 + number,
            trial=f"{backbone}-{number}",
            backbone=backbone,
            trainable=trainable,
            bytes_sent=moved * 1e9,
            **{"wire-format": form},
        )
        for backbone in backbones
        for number, ((trainable, form), moved) in enumerate(gigabytes.items())
    ]
    (together,) = over_traffic(compare(ledger(*rows)))
    return together


def test_communication_has_a_point_for_each_way_in_a_row_for_each_backbone() -> None:
    """A line joins the formats of what is trained alike, float32 first, and has points on it."""
    moved = {("all", "int8"): 3.0, ("all", "float32"): 4.0, ("head", "float32"): 2.5}
    figure = draw_communication(ways(moved, "swin_b", "convnext_t"))
    first, _, second, _ = figure.axes
    assert (first.get_title("left"), second.get_title("left")) == ("convnext_t", "swin_b")
    assert second.get_xlabel() == "gigabytes sent and received by the server"
    for axes in (first, second):
        found = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        together = ([4, 3], [71, 70])
        assert found[:3] == [together, ([4], [71]), ([3], [70])]
        assert found[3:5] == [([2.5], [72]), ([2.5], [72])]
        assert all(line == ([], []) for line in found[5:])


def test_communication_says_what_there_is() -> None:
    moved = {("lora", "float32"): 3.0, ("lora", "int8"): 4.0}
    (_, right) = draw_communication(ways(moved, "swin_b")).axes
    legend = right.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.texts] == ["lora", "float32", "int8"]
    whole, packed = legend.legend_handles[1:]
    assert (whole.get_fillstyle(), packed.get_fillstyle()) == ("full", "none")


def test_bytes_that_differ_more_than_a_hundredfold_have_units_of_their_own() -> None:
    """4 GB and 0.004: no unit suits both, and only powers of ten have a tick."""
    moved = {("all", "float32"): 4.0, ("head", "float32"): 0.004}
    left, _ = draw_communication(ways(moved, "swin_b")).axes
    assert left.get_xlabel() == "sent and received by the server"
    low, high = left.get_xlim()
    shown = [tick for tick in left.get_xticks() if low <= tick <= high]
    assert shown == [1e7, 1e8, 1e9]
    assert left.xaxis.get_major_formatter()(1e8, 0) == "100 MB"


def test_the_ways_that_are_drawn_are_those_of_the_config() -> None:
    for key, values in TRAFFIC.items():
        field = ExperimentConfig.model_fields[key.replace("-", "_")]
        assert get_args(field.annotation) == values


def test_a_campaign_that_varies_what_travels_has_a_figure_of_that(findings: Findings) -> None:
    """The generated one does not; with a comparison of int8 beside one of float32 it would."""
    comparison = next(c for c in findings.comparisons if c.kind == "Federated classifier")
    packed = comparison.rows.assign(**{"config.wire-format": "int8"})
    settings = comparison.settings | {"wire-format": "int8"}
    two = [comparison, Comparison(comparison.kind, settings, packed)]
    names = [one.name for one in draw_all(replace(findings, comparisons=two, rankings=[]))]
    assert names[-1] == f"{comparison.name}-communication"
    assert not any("communication" in name for name in names[:-1])
