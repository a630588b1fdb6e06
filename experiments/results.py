"""The final figures of a run as a table for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder


def show_results(console: Console, folder: RunFolder) -> None:
    """Print the final figures of a completed run, and where everything is."""
    metrics = folder.metrics()
    console.print(results_table(metrics, folder.manifest()))
    if "clients" in metrics:
        console.print(traffic_table(folder.rounds()))
    if "global_test" not in metrics:
        console.print("There is no global test set, so there are no figures for it.")
    console.print(f"The run folder is {folder.path}", highlight=False, soft_wrap=True)


def results_table(metrics: dict[str, Any], manifest: dict[str, Any]) -> Table:
    """Return the table of a run: a row for each client, if any, and each test set.

    Args:
        metrics: as in ``metrics.json``.
        manifest: the run's; the title tells what makes the figures worthless for medicine.
    """
    federated = "clients" in metrics
    what = "round" if federated else "epoch"
    title = f"The best model, of {what} {metrics['best_round']} of {metrics['rounds']}, in percent"
    if manifest["data"]["synthetic"]:
        title += "\nSYNTHETIC images: these figures say nothing about patients"
    text = manifest.get("text")
    if text and text["weights"] != "openai":
        title += f"\nRANDOM text tower ({text['weights']}) in the place of CLIP's {text['encoder']}"
    table = Table(title=title, title_justify="left")
    table.add_column("test split of" if federated else "judged on")
    table.add_column("n", justify="right")
    for name in METRIC_NAMES:
        table.add_column(name.upper(), justify="right")
    for client, block in metrics.get("clients", {}).items():
        _add(table, client, block)
    if federated:
        _add(table, "all clients, pooled", metrics["client_test"])
        table.add_section()
    if "global_test" in metrics:
        name = "global test set" if federated else "test set"
        _add(table, name, metrics["global_test"], style="bold")
        _add(table, "  last model", metrics["last"]["global_test"], style="dim")
    for client, heads in metrics.get("client_heads", {}).items():
        if "failed" in heads:
            table.add_row(escape(f"  own heads of {client}: {heads['failed']}"))
            continue
        for head, block in heads.items():
            _add(table, f"  own {head.upper()} of {client}", block)
    return table


def traffic_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of what travelled in a federated run.

    Args:
        rounds: at least one, as in ``rounds.jsonl``.
    """
    sent = sum(record["bytes_sent"] for record in rounds)
    received = sum(record["bytes_received"] for record in rounds)
    # Who failed was asked, too.
    asked = sum(len(record["clients"]) + len(record["failures"]) for record in rounds)
    answers = sum(len(record["clients"]) for record in rounds)
    transport = sum(record["seconds"]["transport"] for record in rounds)
    seconds = sum(record["seconds"]["round"] for record in rounds)
    table = Table(title="What travelled, in megabytes", title_justify="left")
    table.add_column("")
    table.add_column("to clients", justify="right")
    table.add_column("from clients", justify="right")
    table.add_row("a client, a round", megabytes(sent / asked), megabytes(received / answers))
    table.add_row("altogether", megabytes(sent), megabytes(received))
    table.caption = f"Transport: {transport:.1f} s of the rounds' {seconds:.1f} s"
    table.caption_justify = "left"
    return table


def megabytes(number_of_bytes: float) -> str:
    """Return a number of bytes in units of 10⁶, to two decimals or, below 1, three digits."""
    number = number_of_bytes / 1e6
    return f"{number:,.2f}" if number >= 1 else f"{number:.3g}"


def _add(table: Table, name: str, block: dict[str, Any], style: str | None = None) -> None:
    table.add_row(name, *_cells(block), style=style)
    if "patients" in block:
        table.add_row("  by patient", *_cells(block["patients"]), style=style)


def _cells(block: dict[str, Any]) -> Iterator[str]:
    yield str(block["n"])
    for name in METRIC_NAMES:
        yield "–" if block[name] is None else f"{block[name]:.2f}"
