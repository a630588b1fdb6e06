"""``make bench``: run the benchmarks, print a table, write benchmarks/results/."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    aggregation,
    campaigns,
    clip_bytes,
    clip_step,
    features,
    federated_round,
    fedprox_step,
    heads,
    image_store,
    machine,
    report,
    report_time,
    text_features,
)
from benchmarks.result import Result

BENCHMARKS: Mapping[str, Callable[..., list[Result]]] = {
    "federated-round": federated_round.measure,
    "fedprox-step": fedprox_step.measure,
    "aggregation": aggregation.measure,
    "image-store": image_store.measure,
    "clip-step": clip_step.measure,
    "clip-bytes": clip_bytes.measure,
    "text-features": text_features.measure,
    "features": features.measure,
    "heads": heads.measure,
    "report": report_time.measure,
    "campaigns": campaigns.measure,
}

console = Console()


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Repeats of each.", show_default="each benchmark's own"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = report.RESULTS,
) -> None:
    """Measure what NAME names, or all.

    Known are federated-round, fedprox-step, aggregation, image-store, clip-step, clip-bytes,
    text-features, features, heads, report and campaigns.

    The files are written after each benchmark, so an interrupted call keeps what it has.
    """
    unknown = set(names or ()) - BENCHMARKS.keys()
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: known are {', '.join(BENCHMARKS)}")
    results: list[Result] = []
    for name in names or BENCHMARKS:
        console.print(f"{name} …", highlight=False)
        circumstances = machine.describe()
        found = BENCHMARKS[name]() if repeats is None else BENCHMARKS[name](repeats=repeats)
        path = report.write(found, circumstances, out)
        results += found
    console.print(report.table(results))
    console.print(f"Written to {path} and latest.md", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
