"""Results on the screen, in one JSON file per day and machine, and in one Markdown table of all."""

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
    """Add results to the file of this day and machine, and write ``latest.md`` from all files.

    A result with the same name is replaced. Each result is stored with the commit, versions and
    load under which it was measured, so that results of several calls can share a file.
    ``latest.md`` has the newest result of each name from any machine.

    Args:
        results: the measured results.
        circumstances: from `benchmarks.machine.describe`, taken before measuring.
        folder: folder of the files.

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
    write_text(folder / "latest.md", markdown(folder))
    return path


def markdown(folder: Path) -> str:
    """Return the newest result of each benchmark as Markdown.

    Args:
        folder: contains files made by `write`, and possibly others.
    """
    newest: dict[str, dict[str, Any]] = {}
    for path in folder.glob("[0-9]*.json"):
        content = json.loads(path.read_text("utf-8"))
        machine = "{cpu}, {cores} cores, {memory_gb} GB, {system}".format(**content["machine"])
        for row in content["results"]:
            known = newest.get(row["name"])
            if known is None or known["measured"] < row["measured"]:
                newest[row["name"]] = {**row, "machine": machine, "file": path.name}
    rows = sorted(newest.values(), key=lambda row: row["measured"])
    lines = [
        "# Benchmarks",
        "",
        "The newest result of each benchmark; `make bench` measures them again, but for those of "
        "many clients and of the peers, which take long and are asked for by name. The link of the "
        "day leads to the file with all samples. The table has the median of each side's samples, "
        "in seconds unless it says otherwise. Both sides of a ratio were measured in one call, "
        "but not all benchmarks on one machine; the list below names the machines.",
        "",
        "| benchmark | figure | target | met | medians (samples) | measured |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        day = f"[{row['measured'][:10]}]({row['file']})"
        lines.append(f"| {' | '.join(_cells(row))} | {day} |")
    lines += ["", "## What is compared", ""]
    for row in rows:
        versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
        lines += [
            f"**{row['name']}.** {row['compares']}",
            "",
            *(f"- {key}: {_text(value)}" for key, value in row["details"].items()),
            f"- measured {row['measured']} at commit {row['git_commit']}, {row['machine']}, "
            f"{versions}, load before {row['load_before']}",
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
