"""Draw the newest result of many-clients for the docs: python -m benchmarks.many_clients_figure."""

import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.result_files import RESULTS
from experiments.reporting.style import BLUE, GREEN, ORANGE, SETTINGS, VERMILION, new_figure, render
from operation.files import write_text

PATH = Path(__file__).parents[1] / "docs" / "images" / "many-clients.svg"


def draw(details: dict[str, Any], memory: dict[str, Any]) -> Figure:
    """Draw milliseconds for each client and megabytes over the number of clients.

    Args:
        details, memory: of the results ``many-clients`` and ``many-clients-memory``.
    """
    figure = new_figure("What one more client costs", 9.0, 3.2, synthetic=False)
    left, right = figure.subplots(1, 2)
    clients = [int(name.split()[0]) for name in details]
    phases = {
        "a round": ("rounds", 2),
        "introduction": ("introductions", 1),
        "judging": ("judging", 1),
    }
    for (label, (key, times)), colour in zip(phases.items(), (BLUE, ORANGE, GREEN), strict=True):
        seconds = [part[key] / times for part in details.values()]
        each = [1000 * one / number for one, number in zip(seconds, clients, strict=True)]
        left.plot(clients, each, marker="o", color=colour, label=label)
    left.set_ylabel("milliseconds for each client")
    left.set_yscale("log")
    ticks = (10, 20, 50, 100, 200, 500)
    left.set_yticks(ticks, [str(number) for number in ticks])
    left.yaxis.set_minor_locator(NullLocator())
    kinds = list(next(iter(memory.values())))
    for kind, colour in zip(kinds, (ORANGE, BLUE, GREEN, VERMILION), strict=True):
        right.plot(
            clients, [one[kind] for one in memory.values()], marker="o", color=colour, label=kind
        )
    right.set_ylabel("megabytes at most")
    right.set_ylim(0)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(clients, [f"{number:,}" for number in clients])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("clients")
        axes.grid()
        axes.spines[["right", "top"]].set_visible(False)
    left.legend(loc="upper right")
    right.legend(loc="center", bbox_to_anchor=(0.5, 0.37), ncols=2)  # below the lines of processes
    return figure


if __name__ == "__main__":
    rows = [
        row
        for path in RESULTS.glob("[0-9]*.json")
        for row in json.loads(path.read_text("utf-8"))["results"]
    ]
    newest = {row["name"]: row for row in sorted(rows, key=lambda row: row["measured"])}
    with matplotlib.rc_context(SETTINGS):
        drawn = draw(newest["many-clients"]["details"], newest["many-clients-memory"]["details"])
        write_text(PATH, render(drawn, "many-clients")[0])
