"""Draws all figures of a report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import matplotlib
from matplotlib.figure import Figure

from experiments.reporting.bars import draw_heads, draw_spider
from experiments.reporting.comparisons import Comparison, slug
from experiments.reporting.convergence import draw_convergence
from experiments.reporting.cost import draw_communication, draw_cost
from experiments.reporting.findings import Findings
from experiments.reporting.rank_diagram import draw_ranks
from experiments.reporting.style import SETTINGS, render


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: the files', without suffix.
        about: title of the comparison or ranking that it shows.
        what: description for people who cannot see it.
    """

    name: str
    about: str
    what: str
    svg: str
    png: bytes


def draw_all(findings: Findings) -> list[Drawing]:
    """Draw every figure of a report, those of a comparison one after another.

    It uses one process: a figure takes a quarter of a second, and a campaign may need the other
    cores.
    """
    return list(_drawings(findings))


def _drawings(findings: Findings) -> Iterator[Drawing]:
    for comparison in findings.comparisons:
        yield from _of_comparison(comparison, findings)
    for together in findings.communication:
        if together.varied_traffic and len(together.network):
            what = "AVG against bytes and time, by backbone, trained part and wire format"
            yield _draw(together.title, "-communication", what, draw_communication, together)
    for ranking in findings.rankings:
        if ranking.test is not None:
            draw = partial(draw_ranks, ranking.title, ranking.test, synthetic=ranking.synthetic)
            yield _draw(ranking.title, "", "critical-difference diagram", draw)


def _of_comparison(comparison: Comparison, findings: Findings) -> Iterator[Drawing]:
    draw = partial(_draw, comparison.title)
    if comparison.judged["model"].nunique() > 1:
        what = "AVG of the network and of each head, then each head's metrics, by backbone"
        yield draw("-heads", what, draw_heads, comparison)
    if len(comparison.network):
        yield draw("-metrics", "the metrics of the network, by backbone", draw_spider, comparison)
    records = {trial: findings.records[trial] for trial in comparison.rows["trial"].unique()}
    if any(record.curve["validation_avg"].notna().any() for record in records.values()):
        what = "validation AVG, by round"
        yield draw("-convergence", what, draw_convergence, comparison, records)
    if len(comparison.network):
        yield draw("-cost", "AVG against bytes and time, by backbone", draw_cost, comparison)


def _draw(
    about: str, suffix: str, what: str, draw: Callable[..., Figure], *shown: object
) -> Drawing:
    name = f"{slug(about)}{suffix}"
    with matplotlib.rc_context(SETTINGS):
        svg, png = render(draw(*shown), name)
    return Drawing(name, about, what, svg, png)
