"""Results on the screen, in a JSON file a day and machine, and in one Markdown table."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.machine import short_name
from benchmarks.result import Result
from operation.files import write_json, write_text

RESULTS = Path(__file__).parent / "results"


def write(results: Sequence[Result], circumstances: Mapping[str, Any], folder: Path) -> Path:
    """Add results to the file of this day and machine, and write ``latest.md`` from that file.

    A result of the same name is replaced; each stands with the commit, the versions and the load
    that it was measured under, so that results of several calls can share a file.

    Args:
        results: what was measured.
        circumstances: from `benchmarks.machine.describe`, taken before measuring.
        folder: where the files go.

    Returns:
        The path of the JSON file.
    """
    moment = datetime.now(UTC)
    path = folder / f"{moment.date().isoformat()}-{short_name()}.json"
    known: dict[str, Any] = {}
    if path.is_file():
        known = {row["name"]: row for row in json.loads(path.read_text("utf-8"))["results"]}
    under = {key: value for key, value in circumstances.items() if key != "machine"}
    for result in results:
        known[result.name] = {
            **result.to_dict(),
            "measured": moment.isoformat(timespec="seconds"),
            **under,
        }
    content = {
        "date": moment.date().isoformat(),
        "machine": circumstances["machine"],
        "results": list(known.values()),
    }
    write_json(path, content)
    write_text(folder / "latest.md", markdown(content, path.name))
    return path


def markdown(content: Mapping[str, Any], source: str) -> str:
    """Return a results file as Markdown.

    Args:
        content: of the JSON file.
        source: the JSON file's name.
    """
    machine = content["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"{content['date']}, {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {machine['system']}. Every sample is in [{source}]({source}); "
        "`make bench` measures anew. Each side stands with the median of its samples; times are "
        "in seconds unless the table says otherwise.",
        "",
        "| benchmark | figure | target | met | medians (samples) |",
        "|---|---|---|---|---|",
    ]
    for row in content["results"]:
        lines.append(f"| {' | '.join(_cells(row))} |")
    lines += ["", "## What is compared", ""]
    for row in content["results"]:
        versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
        lines += [
            f"**{row['name']}.** {row['compares']}",
            "",
            *(f"- {key}: {_text(value)}" for key, value in row["details"].items()),
            f"- measured {row['measured']} at commit {row['git_commit']}, {versions}, "
            f"load before {row['load_before']}",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def table(results: Sequence[Result]) -> Table:
    """Return a table for the terminal."""
    result = Table("benchmark", "figure", "target", "met", "medians (samples)")
    for row in results:
        result.add_row(*_cells(row.to_dict()))
    return result


def _cells(row: Mapping[str, Any]) -> list[str]:
    figure = f"{row['value']:.3g}" + (" x" if row["unit"] == "x" else f" {row['unit']}")
    unit = "" if row["samples_unit"] == "s" else f" {row['samples_unit']}"
    sides = [
        f"{side} {median:.4g}{unit} ({row['repeats'][side]})"
        for side, median in row["medians"].items()
    ]
    met = {True: "yes", False: "NO", None: ""}[row["met"]]
    return [row["name"], figure, row["target"], met, ", ".join(sides)]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
