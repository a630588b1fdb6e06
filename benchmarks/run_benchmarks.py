"""``make bench``: run the benchmarks, print a table, write benchmarks/results/."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine, result_files
from benchmarks.result import Result
from experiments.console import Console

# By module. Only the requested module is imported: the child processes that measure memory start
# with everything that this file imports.
BENCHMARKS = {
    "federated-round": "federated_round",
    "kept-features-round": "kept_features_round",
    "many-clients": "many_clients",
    "fedprox-step": "fedprox_step",
    "waiting-threads": "waiting_threads",
    "adapter-round": "adapter_round",
    "wire-format": "update_compression",
    "aggregation": "aggregation_cost",
    "image-store": "image_loading",
    "clip-step": "clip_step",
    "clip-bytes": "clip_bytes",
    "text-features": "text_features_memory",
    "features": "feature_extraction",
    "heads": "head_fitting",
    "report": "report_time",
    "everyday": "everyday_commands",
    "campaigns": "campaigns",
    "deployed-round": "deployed_round",
    "deployed-transport": "deployed_transport",
}
# Six minutes and more; run only if it is named.
LONG = ("many-clients",)

console = Console()


def find(name: str) -> Callable[..., list[Result]]:
    """Return the measuring function of a benchmark of ``BENCHMARKS``."""
    measure: Callable[..., list[Result]] = import_module(f"benchmarks.{BENCHMARKS[name]}").measure
    return measure


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Repeats of each.", show_default="each benchmark's own"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = result_files.RESULTS,
) -> None:
    """Run the benchmarks with these NAMEs, or all.

    Known are federated-round, kept-features-round, fedprox-step, waiting-threads, adapter-round,
    wire-format, aggregation, image-store, clip-step, clip-bytes, text-features, features, heads,
    report, everyday, campaigns, deployed-round, deployed-transport; and many-clients, which takes
    six minutes and is run only if it is named.

    The files are written after each benchmark, so an interrupted call keeps its results.
    """
    unknown = set(names or ()) - BENCHMARKS.keys()
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: known are {', '.join(BENCHMARKS)}")
    results: list[Result] = []
    for name in names or (name for name in BENCHMARKS if name not in LONG):
        console.print(f"{name} …", highlight=False)
        circumstances = machine.describe()
        measure = find(name)
        found = measure() if repeats is None else measure(repeats=repeats)
        path = result_files.write(found, circumstances, out)
        results += found
    console.print(result_files.table(results))
    console.print(f"Written to {path} and latest.md", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    # A traceback with local variables would print, and copy, gigabytes of arrays.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
