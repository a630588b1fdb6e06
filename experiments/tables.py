"""The final figures of a run as a table for people."""

from typing import Any

from rich.table import Table

from training.metrics import METRIC_NAMES


def results_table(metrics: dict[str, Any], *, synthetic: bool) -> Table:
    """Return the table of a federated run: a row for each client and each test set.

    Args:
        metrics: as in ``metrics.json``.
        synthetic: whether the images were drawn by a program; the title says so.
    """
    title = f"The best model, of round {metrics['best_round']} of {metrics['rounds']}, in percent"
    if synthetic:
        title += "\nSYNTHETIC images: these figures say nothing about skin"
    table = Table(title=title, title_justify="left")
    table.add_column("test split of")
    table.add_column("images", justify="right")
    for name in METRIC_NAMES:
        table.add_column(name.upper(), justify="right")
    for client, block in metrics["clients"].items():
        table.add_row(client, *_cells(block))
    table.add_row("all clients, pooled", *_cells(metrics["client_test"]), end_section=True)
    if "global_test" in metrics:
        table.add_row("global test set", *_cells(metrics["global_test"]), style="bold")
        last = metrics["last"]["global_test"]
        table.add_row("global, last model", *_cells(last), style="dim")
    return table


def _cells(block: dict[str, Any]) -> list[str]:
    figures = (block[name] for name in METRIC_NAMES)
    return [str(block["n"]), *("–" if f is None else f"{f:.2f}" for f in figures)]
