"""Statistics over the figures of several seeds and settings."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.reporting.comparisons import Comparison, in_order
from models.head_names import HEADS
from training.scores import scores_with

ALPHA = 0.05
KEYS = ["unit", "model", "config.backbone"]
"""The columns that distinguish a table's rows; seeds are repeats."""


class NoRankTest(ValueError):
    """Too few figures to compare ranks; the message says what is missing."""


@dataclass(frozen=True)
class RankTest:
    """Friedman's test and Nemenyi's critical difference over the backbones' ranks."""

    mean_ranks: pd.Series  # of each backbone over the blocks, sorted; 1 is the best
    num_blocks: int
    left_out: int  # number of the other blocks
    p_value: float  # of Friedman's test; its hypothesis is that all backbones are equal
    critical_difference: float  # mean ranks that are closer than this do not differ at ``ALPHA``

    def cliques(self) -> list[tuple[float, float]]:
        """Return the largest groups of at least two backbones that do not differ, by rank."""
        ranks = self.mean_ranks.to_numpy()
        found: list[tuple[float, float]] = []
        reached = -1
        for first, rank in enumerate(ranks):
            last = int(np.searchsorted(ranks, rank + self.critical_difference, side="right")) - 1
            if last > max(first, reached):
                found.append((float(rank), float(ranks[last])))
                reached = last
        return found


@dataclass(frozen=True)
class Ranking:
    """The backbones of one kind of experiment."""

    kind: str
    synthetic: bool  # whether any of its images are synthetic
    test: RankTest | None  # None if there are too few figures to compare
    why_not: str  # what is missing then, as text for users

    @property
    def title(self) -> str:
        """What is ranked, in one line."""
        return f"{self.kind}: ranks of the backbones"


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise each backbone, with each model and unit, over its seeds.

    Args:
        rows: of a `Comparison` on the global test set.

    Returns:
        A row for each (unit, model, backbone), in this order, with these as columns and: ``seeds``,
        their number; ``not_complete``, the number of seeds that are not complete; for every score
        its mean, NaN if a seed does not define it, and as ``acc_sd``, … its standard deviation
        (n − 1, NaN for one seed);
        ``bacc_classes``, the smallest number of classes of any seed's BACC; and ``rank`` by mean
        AVG among all rows of the unit: 1 is the best, and equal values share their mean rank.
    """
    alike = rows.groupby(KEYS)
    groups = alike[list(scores_with(*rows["config.best-by"].unique()))]
    means = groups.mean().where(groups.count().eq(alike.size(), axis=0))
    deviations = groups.std(ddof=1).where(means.notna())
    result = seeds_of(rows, KEYS).join(means).join(deviations.add_suffix("_sd"))
    result["bacc_classes"] = alike["bacc_classes"].min()
    result["rank"] = result.groupby("unit")["avg"].rank(ascending=False)
    return in_table_order(result, rows)


def seeds_of(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return for each group its number of ``seeds``, and how many of them are ``not_complete``."""
    lost = (~rows["complete"]).groupby([rows[key] for key in keys], observed=True)
    return pd.DataFrame({"seeds": lost.size(), "not_complete": lost.sum()})


def in_table_order(result: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return groups by ``KEYS`` in the order of a table's rows, with the keys as columns.

    Args:
        result: indexed by ``KEYS``.
        rows: the rows that were grouped.
    """
    models = [name for name in ("network", *HEADS) if name in set(rows["model"])]
    order = itertools.product(
        sorted(rows["unit"].unique()), models, in_order(rows["config.backbone"])
    )
    result = result.loc[[key for key in order if key in result.index]]
    return result.reset_index().rename(columns={"config.backbone": "backbone"})


def rankings(comparisons: list[Comparison]) -> list[Ranking]:
    """Compare the backbones within each kind of experiment that has figures."""
    found = []
    for kind in dict.fromkeys(comparison.kind for comparison in comparisons):
        alike = [c for c in comparisons if c.kind == kind and len(c.judged)]
        if not alike:
            continue
        synthetic = any(comparison.synthetic for comparison in alike)
        try:
            found.append(Ranking(kind, synthetic, rank_test(rank_blocks(alike)), ""))
        except NoRankTest as reason:
            found.append(Ranking(kind, synthetic, None, str(reason)))
    return found


def rank_blocks(comparisons: list[Comparison]) -> pd.DataFrame:
    """Return AVG in percent: a row for each setting, model and seed, a column for each backbone.

    By image, on the global test set. NaN if a backbone has no figure there.
    """
    parts = []
    for comparison in comparisons:
        rows = comparison.judged[comparison.judged["unit"] == "image"]
        part = rows.pivot_table(
            index=["model", "config.seed"], columns="config.backbone", values="avg"
        )
        parts.append(pd.concat({comparison.title: part}, names=["setting"]))
    table = pd.concat(parts)
    return table[in_order(table.columns.to_series())]


def rank_test(blocks: pd.DataFrame) -> RankTest:
    """Compare the backbones' ranks over the blocks that have all backbones.

    Janez Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006),
    1–30: the critical difference is q √(k(k + 1) / 6N) for k backbones and N blocks, with q from
    the studentized range, infinite degrees of freedom, over √2.

    Args:
        blocks: from `rank_blocks`.

    Raises:
        NoRankTest: fewer than three backbones, fewer than two whole blocks, or no difference.
    """
    from scipy.stats import friedmanchisquare, studentized_range

    whole = blocks.dropna()
    num_blocks, num_backbones = whole.shape
    if num_backbones < 3:
        raise NoRankTest(f"it takes at least three backbones, not {num_backbones}")
    if num_blocks < 2:
        raise NoRankTest(
            f"{num_blocks} of {len(blocks)} blocks hold all {num_backbones} backbones, and it "
            "takes at least two"
        )
    ranks = whole.rank(axis=1, ascending=False)
    if bool((whole.nunique(axis=1) == 1).all()):
        raise NoRankTest("all backbones have the same figures in every block")
    quantile = studentized_range.ppf(1 - ALPHA, num_backbones, np.inf) / np.sqrt(2)
    return RankTest(
        mean_ranks=ranks.mean().sort_values(kind="stable"),
        num_blocks=num_blocks,
        left_out=len(blocks) - num_blocks,
        p_value=float(friedmanchisquare(*whole.to_numpy().T).pvalue),
        critical_difference=float(
            quantile * np.sqrt(num_backbones * (num_backbones + 1) / (6 * num_blocks))
        ),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number; where one is below α, so is the chance that any
    hypothesis is rejected wrongly.

    S. Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
