"""A table of how far each client's training moved the weights."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from experiments.figures_table import NONE, new_table

_NOTE = (
    "norm: local minus global weights, over all floating-point arrays that travel;\n"
    "cosine: to the mean update, 1 where both point the same way. Medians over rounds."
)


def updates_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the clients' updates, a row for each client that ever answered.

    Args:
        rounds: as in ``rounds.jsonl``.
    """
    updates: dict[str, list[Mapping[str, Any]]] = {}
    for record in rounds:
        for client, said in record["clients"].items():
            updates.setdefault(client, []).append(said["update"])
    columns = ["rounds", "norm", "largest", "cosine", "clipped"]
    table = new_table("The clients' updates", "", columns)
    table.caption = _NOTE
    for client, said in updates.items():
        norms = [one["norm"] for one in said]
        cosines = [one["cosine"] for one in said if one["cosine"] is not None]
        table.add_row(
            Text(client),
            str(len(said)),
            f"{statistics.median(norms):.3g}",
            f"{max(norms):.3g}",
            f"{statistics.median(cosines):.2f}" if cosines else NONE,
            str(sum(one["clipped"] for one in said)),
        )
    return table


def update_warnings(rounds: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Return a line for each update that was much larger than the others."""
    return [
        Text(f"Round {record['round']}: {warning}", "bold yellow")
        for record in rounds
        for warning in record["warnings"]
    ]
