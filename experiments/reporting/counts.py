"""Tables of counts: images found by class, and the data sent in federated trials."""

from collections.abc import Sequence

import pandas as pd

from data_partition.datasets import in_naming_order
from experiments.reporting.comparisons import TRAFFIC, Comparison
from experiments.reporting.findings import Findings
from experiments.reporting.statistics import KEYS, in_table_order
from experiments.reporting.tables import Table, row_names, seeds_cells, table_of
from experiments.results import megabytes

SUPPORT = "support."


def recall_tables(findings: Findings) -> list[Table]:
    """Return the table of every comparison that has figures."""
    return [comparison_recall_table(c) for c in findings.chapters if len(c.judged)]


def comparison_recall_table(comparison: Comparison) -> Table:
    """Return the found and total images of each class, summed over the seeds."""
    rows = comparison.judged
    classes = classes_of(rows)
    counts = rows[KEYS].assign(complete=rows["complete"])
    for name in classes:
        counts[f"found.{name}"], counts[f"support.{name}"] = found_of(rows, name)
    groups = counts.groupby(KEYS)
    columns = [f"{what}.{name}" for name in classes for what in ("found", "support")]
    sums = groups[columns].sum().astype(int)
    sums.insert(0, "seeds", groups.size())
    sums.insert(1, "not_complete", groups["complete"].agg(lambda complete: (~complete).sum()))
    numbers = in_table_order(sums, rows)
    cells, best = row_names(numbers), pd.DataFrame(index=numbers.index)
    for name in classes:
        found, of = numbers[f"found.{name}"], numbers[f"support.{name}"]
        cells[name] = [f"{a}/{b}" if b else "–" for a, b in zip(found, of, strict=True)]
        share = found / of.where(of > 0)
        highest = share.groupby(numbers["unit"]).transform("max")
        best[name] = (share == highest) & (len(numbers) > 1)
    title = "Recall by class: found, of how many · "
    return table_of(comparison, "-recall", title, numbers, cells, best)


def classes_of(rows: pd.DataFrame) -> list[str]:
    """Return the classes that have images in any row of a ledger, in the order of tables."""
    supports = [column for column in rows if str(column).startswith(SUPPORT) and rows[column].any()]
    return in_naming_order(str(column).removeprefix(SUPPORT) for column in supports)


def found_of(rows: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    """Return for each row of a ledger the found and total images of a class; integers."""
    of = rows[f"support.{name}"].fillna(0)
    found = (rows[f"recall.{name}"].fillna(0) / 100 * of).round()
    return found.astype(int), of.astype(int)


def traffic_tables(findings: Findings) -> list[Table]:
    """Return the table of every federated comparison that has figures."""
    return [
        comparison_traffic_table(c)
        for c in findings.communication
        if c.federated and len(c.network)
    ]


def comparison_traffic_table(comparison: Comparison) -> Table:
    """Return megabytes, and seconds of transport and waiting, by backbone and ``TRAFFIC``.

    Means over the seeds. Megabytes to and from a client in a round are means over the clients
    asked and the rounds; a client that did not answer counts as one that sent nothing.

    Args:
        comparison: of federated trials, some of which have figures.
    """
    rows = comparison.network.copy()
    sampled = rows["config.clients-per-round"]
    messages = rows["rounds"] * sampled.where(sampled > 0, rows["config.clients"])
    rows["bytes_to_client"] = rows["bytes_sent"] / messages
    rows["bytes_from_client"] = rows["bytes_received"] / messages
    rows["bytes"] = rows["bytes_sent"] + rows["bytes_received"]
    rows = rows.rename(columns=lambda name: name.removeprefix("config."))
    keys: dict[str, Sequence[str]] = {"backbone": comparison.backbones, **TRAFFIC}
    for key, order in keys.items():
        rows[key] = pd.Categorical(rows[key], list(order))
    numbers = (
        rows.groupby(list(keys), observed=True)
        .agg(
            seeds=("seed", "nunique"),
            not_complete=("complete", lambda complete: (~complete).sum()),
            avg=("avg", "mean"),
            bytes_to_client=("bytes_to_client", "mean"),
            bytes_from_client=("bytes_from_client", "mean"),
            bytes=("bytes", "mean"),
            seconds_transport=("seconds_transport", "mean"),
            seconds_waiting=("seconds_waiting", "mean"),
            seconds=("seconds", "mean"),
        )
        .reset_index()
    )
    cells, best = numbers[list(keys)].astype(str), pd.DataFrame(index=numbers.index)
    cells["seeds"] = seeds_cells(numbers)
    cells["AVG"] = numbers["avg"].map("{:.2f}".format)
    cells["MB to a client, a round"] = numbers["bytes_to_client"].map(megabytes)
    cells["MB from a client, a round"] = numbers["bytes_from_client"].map(megabytes)
    cells["MB altogether"] = numbers["bytes"].map(megabytes)
    cells["seconds of transport"] = numbers["seconds_transport"].map("{:,.1f}".format)
    cells["seconds of waiting for a turn"] = numbers["seconds_waiting"].map("{:,.1f}".format)
    cells["seconds of all rounds"] = numbers["seconds"].map("{:,.1f}".format)
    several = len(numbers) > 1
    best["AVG"] = several & (cells["AVG"] == f"{numbers['avg'].max():.2f}")
    best["MB altogether"] = several & (numbers["bytes"] == numbers["bytes"].min())
    return table_of(comparison, "-communication", "Communication · ", numbers, cells, best)
