"""The list of runs: ``fedskin runs``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console, echo
from operation.errors import InputError
from operation.text import known_names
from training.run_state import RunState

if TYPE_CHECKING:
    from experiments.run_list import ListedRun

console = Console()

HEAD = ("run", "state", "command", "method", "backbone", "data", "rounds")
"""What each line of the table begins with; keys of the config that are asked for follow."""

# Left out of a table that is wider than the terminal, if all runs have the same there.
_DROPPED = ("command", "method", "backbone", "data")


def runs_command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path("runs"),
    sort: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Sort by a column or a key of the config; the best figures first."
        ),
    ] = "date",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Only runs with this in a column or key. Repeatable."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Show a key of the config as a column. Repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the whole config of each run.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove failed and lost runs, after a question.")
    ] = False,
) -> None:
    """List every run below DIR, with its state and its figures.

    AVG, BACC and AUROC are those of the best model on the global test set, or if that is not judged
    on the clients' pooled test splits, where clients may have models of their own; if the listed
    runs differ in that, column on says it. Under rounds are the finished ones of those planned, of
    which the last may not be validated yet. EMA AVG, EMA BACC and EMA AUROC are those of the moving
    average, if a run has one (key ema-decay). A run is lost if its process is gone without a word;
    --resume continues a failed or lost run. --clean leaves alone the trials of campaigns, which
    their campaign attempts again, runs whose network a folder of heads uses, and damaged folders;
    it says which.

    Examples:

    fedskin runs

        fedskin runs runs --sort bacc --where state=completed \\
          --where backbone=resnet18

    fedskin runs --key loss --key seed --where local-epochs=1

    fedskin runs --clean
    """
    from experiments.campaigns.trial import is_like
    from experiments.run_list import COLUMNS, order, read_run, run_folders
    from training.config_file import parse_override

    if clean and as_json:
        raise InputError("--clean: asks before it removes, and --json only lists; leave out one")
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; name the folder that your runs are in")
    if incomplete := [condition for condition in where or () if "=" not in condition]:
        raise InputError(f"--where {incomplete[0]}: has no value; write {incomplete[0]}=VALUE")
    found = [read_run(path, folder) for path in run_folders(folder)]
    if found:
        keys = list(dict.fromkeys(name for run in found for name in run.config))
        asked = [sort, *(each.partition("=")[0] for each in where or ())]
        _check_known(asked, [*COLUMNS, *keys], "column and no key of a config")
        _check_known(key or (), keys, "key of a config")
    for condition in where or ():
        name, value = parse_override(condition)
        found = [run for run in found if is_like({name: run.value(name)}, {name: value})]
    found.sort(key=lambda run: order(run, sort))
    shown = [name for name in dict.fromkeys(key or ()) if name not in HEAD]
    if clean:
        _clean(folder, found, shown)
    elif as_json:
        for line in json.dumps([asdict(run) for run in found], indent=1).splitlines():
            echo(line)
    else:
        _print(found, folder, shown)


def _check_known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{name}: is no {what}; {known_names(name, known)}")


def _print(found: list[ListedRun], folder: Path, keys: Sequence[str]) -> None:
    from experiments.campaigns.trial import text
    from experiments.figures_table import megabytes
    from experiments.run_list import FIGURES, OF_AVERAGE
    from training.scores import as_text

    if not found:
        console.say(f"There are no such runs below {folder}")
        return
    averaged = any(run.ema_avg is not None for run in found)
    figures = (*FIGURES, *OF_AVERAGE) if averaged else FIGURES
    figure_heads = [name.upper().replace("_", " ") for name in figures]
    differ = len({run.on for run in found} - {""}) > 1
    seeds = {text(run.config.get("seed", "")) for run in found if run.config}
    if "seed" not in keys and len(seeds) > 1:
        keys = ["seed", *keys]
    head = [*HEAD, *keys, *(["on"] if differ else []), *figure_heads, "began", "MB"]
    rows = [
        [
            *(run.run, run.state, run.command, run.method or "–", run.backbone, run.data),
            f"{run.done}/{run.rounds}",
            *(text(run.config.get(key, "–")) or "–" for key in keys),
            *([run.on or "–"] if differ else []),
            *(as_text(name.removeprefix("ema_"), getattr(run, name)) for name in figures),
            run.date[:16].replace("T", " "),
            megabytes(run.bytes),
        ]
        for run in found
    ]
    table = list(zip(head, *rows, strict=True))  # its columns
    same = [column for column in table if column[0] in _DROPPED and len({*column[1:]}) == 1]
    if not (console.is_terminal and len(rows) > 1 and _width(table) > console.width):
        same = []
    table = [column for column in table if column not in same]
    widths = [max(map(len, column)) for column in table]
    right = ("rounds", *figure_heads, "MB")
    for row in zip(*table, strict=True):
        cells = [
            cell.rjust(width) if column[0] in right else cell.ljust(width)
            for column, cell, width in zip(table, row, widths, strict=True)
        ]
        echo("  ".join(cells).rstrip())
    if same:
        echo(f"the same in all: {', '.join(f'{name} {value}' for name, value, *_ in same)}")
    for run in found:
        if run.cause:
            echo(f"{run.run}: {run.state}: {run.cause.splitlines()[0]}")
        elif run.ended_early:
            echo(f"{run.run}: ended early, {run.ended_early}")


def _width(table: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in table) - 2


def _clean(folder: Path, found: list[ListedRun], keys: Sequence[str]) -> None:
    from experiments.figures_table import megabytes
    from experiments.run_list import DAMAGED, needed_by_heads, why_kept
    from training.errors import RunFolderError
    from training.run_folder import RunFolder

    needed = needed_by_heads(folder)
    ended = [run for run in found if run.state in (RunState.FAILED, RunState.LOST, DAMAGED)]
    kept = {run.run: why for run in ended if (why := why_kept(run, folder, needed))}
    unwanted = [run for run in ended if run.run not in kept]
    if unwanted:
        _print(unwanted, folder, keys)
    elif kept:
        console.say(f"There is nothing to remove below {folder}")
    else:
        console.say(f"There are no failed or lost runs below {folder}")
    for run in ended:
        if run.run in kept:
            echo(f"{run.run}: {run.state}, stays: {kept[run.run]}")
    if not unwanted:
        return
    total = megabytes(sum(run.bytes for run in unwanted))
    if not typer.confirm(f"Remove the runs in the table ({total} MB) for good?"):
        return
    removed = 0
    for run in unwanted:
        held = RunFolder(folder / run.run)
        try:
            with held.lock():
                if held.is_completed():
                    console.say(f"{held.path} was resumed and is completed: it stays")
                    continue
                shutil.rmtree(held.path)
        except RunFolderError as error:
            console.say(f"{error}: it stays")
            continue
        removed += 1
    console.say(f"Runs removed: {removed}")
