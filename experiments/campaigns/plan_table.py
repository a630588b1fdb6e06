"""The output of ``fedskin campaign plan``: every trial, the time and disk space, what is missing.

The study is that of docs/study.md.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.table import Table
from rich.text import Text

from experiments.campaigns.forecast import Forecast
from experiments.campaigns.trial import Trial, text
from experiments.console import Console, marked, shown
from experiments.planning.estimate import Estimate, num_evaluations
from experiments.planning.missing import Missing
from experiments.planning.words import duration, gigabytes, room_lines
from operation.text import counted
from training.release import cache_dir

# A key with more values than this is shown in rows.
_MOST_COLUMNS = 6

Trials = Sequence[tuple[Trial, Estimate]]


def show_plan(
    console: Console, name: str, forecast: Forecast, missing: Missing, folder: Path
) -> None:
    """Print the trials with their time, the totals, and what is missing.

    Args:
        folder: the campaign's; it need not exist.
    """
    kinds = groupby(forecast.trials, lambda pair: (pair[0].command, tuple(pair[0].settings)))
    for (command, _), trials in kinds:
        part = list(trials)
        console.print(f"{command}: {_size(part)}")
        console.print(_table(part))
    for line in _totals(name, forecast, folder):
        console.say(marked(line))
    for line in missing.to_download:
        console.say(f"To be downloaded: {line}")
    say_missing(console, missing)


def say_missing(console: Console, missing: Missing) -> None:
    """Print what a person has to bring before a trial can start."""
    for line in missing.to_bring:
        console.say(marked(f"[bold red]Missing:[/] {shown(line)}"))


def _table(trials: Trials) -> Table:
    """Return the table of one part: a cell has the time of one trial."""
    settings = [trial.settings for trial, _ in trials]
    values = {key: list(dict.fromkeys(text(s[key]) for s in settings)) for key in settings[0]}
    varying = [key for key in values if len(values[key]) > 1] or ["seed"]
    narrow = [key for key in varying[:-1] if len(values[key]) <= _MOST_COLUMNS]
    across = max(narrow, key=lambda key: len(values[key])) if narrow else None
    down = [key for key in varying if key != across]
    cells: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for (_, each), setting in zip(trials, settings, strict=True):
        row = cells.setdefault(tuple(text(setting[key]) for key in down), {})
        # More than one value if parts differ in keys that are not in their grids.
        cell = row.setdefault(text(setting[across]) if across else "", [])
        cell.append(duration(each.seconds))
    table = Table()
    for key in down:
        table.add_column(key)
    columns = values[across] if across else [""]
    for number, column in enumerate(columns):
        # The first line of the heads names the key whose values are in the second.
        key_line = f"{across}:" if number == 0 else ""
        head = Text(f"{key_line}\n{column}") if across else Text("each")
        table.add_column(head, justify="right")
    for names, times in cells.items():
        table.add_row(*names, *(", ".join(times.get(column, [])) for column in columns))
    return table


def _totals(name: str, forecast: Forecast, folder: Path) -> list[str]:
    trials = forecast.trials
    work = sum(each.seconds for _, each in trials)
    cache = cache_dir(trials[0][0].config)
    room = {cache: forecast.cached_bytes, folder: forecast.bytes + forecast.passing}
    lines = [
        f"[bold]{shown(name)}[/]: {_size(trials)}",
        f"Time: about {duration(forecast.seconds)} side by side, {duration(work)} one after the "
        f"other; steps measured on this machine ({shown(forecast.machine)})",
        f"Disk: {gigabytes(forecast.bytes)} of results, up to {gigabytes(forecast.passing)} "
        f"more for each trial that runs, {gigabytes(forecast.cached_bytes)} of images and "
        "features in the cache",
        *map(shown, room_lines(room)),
    ]
    lines += [
        f"Corrected by finished trials: {shown(kind)}: {factor:.2f} times the estimate"
        for kind, factor in forecast.corrected.items()
    ]
    if forecast.assumed:
        lines.append(
            f"The images of {' and '.join(forecast.assumed)} were not counted; taken are the "
            "study's numbers"
        )
    return lines


def _size(trials: Trials) -> str:
    evaluations = sum(num_evaluations(trial.command, trial.config) for trial, _ in trials)
    return f"{counted(len(trials), 'trial')}, {counted(evaluations, 'evaluation')}"
