"""A campaign's tables: figures, ranks, images found by class, data sent, the study's figures."""

from collections.abc import Mapping

import pandas as pd

from data_partition.datasets import in_naming_order
from experiments.figures_table import NONE, OVER, megabytes
from experiments.reporting.comparisons import TRAFFIC, WORDS, Comparison, slug
from experiments.reporting.findings import Findings
from experiments.reporting.statistics import (
    KEYS,
    Ranking,
    in_table_order,
    seeds_of,
    summary,
)
from experiments.reporting.study_figures import Published, beside_ours
from experiments.reporting.tables import Table, is_best, rounded, signed
from strategies.methods import METHODS
from training.metrics import METRIC_NAMES
from training.scores import SCORES, Score, further_scores

_SUPPORT = "support."


def campaign_tables(findings: Findings) -> list[Table]:
    """Return all tables but those by hospital and key by key."""
    judged = [comparison for comparison in findings.chapters if len(comparison.judged)]
    published = published_table(findings)
    return [
        *map(comparison_table, judged),
        *map(scores_table, judged),
        *(rank_table(ranking) for ranking in findings.rankings if ranking.test),
        *([] if published is None else [published]),
        *map(recall_table, judged),
        *(traffic_table(c) for c in findings.communication if c.federated and len(c.network)),
    ]


def comparison_table(comparison: Comparison) -> Table:
    """Return mean, standard deviation and rank of each backbone, and of each of its heads."""
    rows = summary(comparison.judged)
    cells, best = _means(rows, {name: SCORES[name] for name in METRIC_NAMES})
    cells.insert(list(cells).index("BACC") + 1, "over", rows["bacc_classes"].astype(str))
    cells["rank"] = rows["rank"].map("{:g}".format)
    notes = (f"Judged on {comparison.judged_on}.", f"{OVER}.")
    return _table(comparison, "", "", rows, cells, best, notes)


def scores_table(comparison: Comparison) -> Table:
    """Return the same of the scores beside the study's six figures."""
    rows = summary(comparison.judged)
    further = further_scores(*comparison.rows["config.best-by"].unique())
    return _table(comparison, "-scores", "Scores · ", rows, *_means(rows, further))


def _table(
    comparison: Comparison,
    suffix: str,
    title: str,
    numbers: pd.DataFrame,
    cells: pd.DataFrame,
    best: Mapping[str, pd.Series],
    notes: tuple[str, ...] = (),
) -> Table:
    """Return a table whose last notes name the trials that are not complete."""
    name, title = f"{comparison.name}{suffix}", f"{title}{comparison.title}"
    notes = (*notes, *not_complete(comparison.judged))
    return Table.of(name, title, comparison.synthetic, numbers, cells, best, notes)


def _means(
    rows: pd.DataFrame, scores: Mapping[str, Score]
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Return the cells of a `summary`, with mean and deviation of some scores, and the best."""
    cells, best = _row_names(rows), {}
    for name, score in scores.items():
        column, lowest = name.upper(), not score.higher_is_better
        cells[column] = [
            rounded(mean, score.digits) + ("" if pd.isna(sd) else f" ± {sd:.{score.digits}f}")
            for mean, sd in zip(rows[name], rows[f"{name}_sd"], strict=True)
        ]
        best[column] = is_best(rows[name], score.digits, lowest=lowest, within=rows["unit"])
    return cells, best


def not_complete(rows: pd.DataFrame) -> list[str]:
    """Return a sentence for each trial among some rows that is not complete."""
    lacking = rows[~rows["complete"]].drop_duplicates("trial")
    return [
        f"Not complete: {trial}: {absences}."
        for trial, absences in zip(lacking["trial"], lacking["absences"], strict=True)
    ]


def _row_names(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that distinguish the rows, as text for users."""
    cells = pd.DataFrame({"backbone": rows["backbone"]})
    if rows["model"].nunique() > 1:
        cells["model"] = rows["model"].map(WORDS)
    if rows["unit"].nunique() > 1:
        cells["by"] = rows["unit"]
    cells["seeds"] = _seeds(rows)
    return cells


def _seeds(rows: pd.DataFrame) -> list[str]:
    """Return the number of seeds of each row, and how many of them are not complete."""
    return [
        f"{seeds} ({lacking} not complete)" if lacking else str(seeds)
        for seeds, lacking in zip(rows["seeds"], rows["not_complete"], strict=True)
    ]


def rank_table(ranking: Ranking) -> Table:
    """Return the table of mean ranks of a test."""
    assert ranking.test is not None
    ranks = ranking.test.mean_ranks.rename_axis("backbone").rename("mean rank").reset_index()
    title = (
        f"{ranking.title}, {ranking.test.num_blocks} blocks, "
        f"critical difference {ranking.test.critical_difference:.2f}, "
        f"Friedman's p = {ranking.test.p_value:.2g}"
    )
    cells = ranks.assign(**{"mean rank": ranks["mean rank"].map("{:.2f}".format)})
    best = {"mean rank": ranks["mean rank"] == ranks["mean rank"].min()}
    notes = ["Blocks on the same test images are not independent: read a small p as a hint."]
    return Table.of(slug(ranking.title), title, ranking.synthetic, ranks, cells, best, notes)


def recall_table(comparison: Comparison) -> Table:
    """Return the found and total images of each class, summed over the seeds."""
    rows = comparison.judged
    classes = classes_of(rows)
    counts = rows[KEYS].copy()
    for name in classes:
        counts[f"found.{name}"], counts[f"support.{name}"] = found_of(rows, name)
    sums = counts.groupby(KEYS).sum().astype(int)
    numbers = in_table_order(seeds_of(rows, KEYS).join(sums), rows)
    cells, best = _row_names(numbers), {}
    for name in classes:
        found, of = numbers[f"found.{name}"], numbers[f"support.{name}"]
        cells[name] = [f"{a}/{b}" if b else NONE for a, b in zip(found, of, strict=True)]
        best[name] = is_best(found / of.where(of > 0), 9, within=numbers["unit"])
    title = "Recall by class: found, of how many · "
    return _table(comparison, "-recall", title, numbers, cells, best)


def classes_of(rows: pd.DataFrame) -> list[str]:
    """Return the classes that have images in any row of a ledger, in the order of tables."""
    supports = [name for name in map(str, rows) if name.startswith(_SUPPORT) and rows[name].any()]
    return in_naming_order(name.removeprefix(_SUPPORT) for name in supports)


def found_of(rows: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    """Return for each row of a ledger the found and total images of a class; integers."""
    of = rows[f"support.{name}"].fillna(0)
    found = (rows[f"recall.{name}"].fillna(0) / 100 * of).round()
    return found.astype(int), of.astype(int)


def traffic_table(comparison: Comparison) -> Table:
    """Return megabytes, and seconds of transport and waiting, by backbone and ``TRAFFIC``.

    Means over the seeds. Megabytes to and from a client in a round are means over the clients
    asked and the rounds; a client that did not answer counts as one that sent nothing.

    Args:
        comparison: of federated trials, some of which have figures.
    """
    rows = comparison.network.copy()
    sampled = rows["config.clients-per-round"]
    asked = sampled.where(sampled > 0, rows["config.clients"])
    pooled = rows["config.strategy"].map(lambda name: METHODS[name].pooled)
    messages = rows["rounds"] * asked.mask(pooled, 1)  # one client has the images of all
    rows["bytes_to_client"] = rows["bytes_sent"] / messages
    rows["bytes_from_client"] = rows["bytes_received"] / messages
    rows["bytes"] = rows["bytes_sent"] + rows["bytes_received"]
    rows = rows.rename(columns=lambda name: name.removeprefix("config."))
    keys = {"backbone": comparison.backbones, **TRAFFIC}
    for key, order in keys.items():
        rows[key] = pd.Categorical(rows[key], list(order))
    means = ["avg", "bytes_to_client", "bytes_from_client", "bytes"]
    means += ["seconds_transport", "seconds_waiting", "seconds"]
    averages = rows.groupby(list(keys), observed=True)[means].mean()
    numbers = seeds_of(rows, list(keys)).join(averages).reset_index()
    cells = numbers[list(keys)].astype(str)
    cells["seeds"] = _seeds(numbers)
    cells["AVG"] = numbers["avg"].map("{:.2f}".format)
    cells["MB to a client, a round"] = numbers["bytes_to_client"].map(megabytes)
    cells["MB from a client, a round"] = numbers["bytes_from_client"].map(megabytes)
    cells["MB altogether"] = numbers["bytes"].map(megabytes)
    cells["seconds of transport"] = numbers["seconds_transport"].map("{:,.1f}".format)
    cells["seconds of waiting for a turn"] = numbers["seconds_waiting"].map("{:,.1f}".format)
    cells["seconds of all rounds"] = numbers["seconds"].map("{:,.1f}".format)
    best = {
        "AVG": is_best(numbers["avg"], 2),
        "MB altogether": is_best(numbers["bytes"], 0, lowest=True),
    }
    return _table(comparison, "-communication", "Communication · ", numbers, cells, best)


def published_table(findings: Findings) -> Table | None:
    """Return the figures of the study (docs/study.md) beside ours; None if none fits."""
    beside = beside_ours(findings.comparisons)
    if not beside:
        return None
    numbers = pd.DataFrame(
        {
            "where": row.published.where,
            "setting": row.setting,
            "backbone": row.published.backbone,
            "figure": _figure(row.published),
            "published": row.published.percent,
            "ours": row.ours,
            "seeds": row.seeds,
            "difference": row.difference,
            "done otherwise": "; ".join(row.otherwise),
        }
        for row in beside
    )
    gain = numbers["figure"].str.startswith("gain")
    cells = numbers.astype(str)
    cells["published"] = numbers["published"].map("{:.2f}".format)
    cells["ours"] = numbers["ours"].map("{:.2f}".format)
    cells.loc[gain, "published"] = numbers.loc[gain, "published"].map("about {:+g}".format)
    cells.loc[gain, "ours"] = numbers.loc[gain, "ours"].map(signed)
    cells["difference"] = numbers["difference"].map(signed)
    settings = set(numbers["setting"])
    trials = pd.concat([c.rows for c in findings.comparisons if c.title in settings])
    title, notes = "The study's figures and ours, in percent", not_complete(trials)
    return Table.of("published", title, findings.synthetic, numbers, cells, notes=notes)


def _figure(published: Published) -> str:
    metric = published.metric.upper()
    return f"gain of {WORDS[published.model]} in {metric}" if published.gain else metric
