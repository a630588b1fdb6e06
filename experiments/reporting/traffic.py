"""A table of the data sent in federated trials."""

from collections.abc import Sequence

import pandas as pd

from experiments.reporting.comparisons import TRAFFIC, Comparison
from experiments.reporting.findings import Findings
from experiments.reporting.tables import Table, not_complete, seeds_cells
from experiments.results import megabytes


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
    best = best.reindex(columns=cells.columns, fill_value=False)
    name, title = f"{comparison.name}-communication", f"Communication · {comparison.title}"
    notes = tuple(not_complete(rows))
    return Table(name, title, comparison.synthetic, numbers, cells, best, notes)
