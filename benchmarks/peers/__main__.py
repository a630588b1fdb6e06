"""``python -m benchmarks.peers``: fedskin beside other frameworks, in one call on one machine.

All train convnext_t at 64 pixels with three clients, from the same weights, on the same batches of
16, and evaluate on the same validation images every round. fedskin crops and flips its images in
the round, as always; the others find each batch ready in memory. What a client does is one file for
all (``apps/client_work.py``); pfl and FL4Health have training loops of their own, which get the
same. The losses of all rounds must be the plain loop's.

Every framework is installed from the package index into an environment of its own, in
``runs/peers``; they share one torch. Round one, in which memory is used for the first time, and the
last round, which has no next one, are not counted.
"""

import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import machine, result_files
from benchmarks.peers import comparison
from benchmarks.peers.comparison import FEDSKIN
from benchmarks.peers.environments import SHARED, install, project, versions
from benchmarks.peers.frameworks import FRAMEWORKS, PLAIN
from benchmarks.peers.measuring import Run, run_fedskin, run_framework, tail
from benchmarks.peers.work import Work, prepare
from experiments.console import Console

ENVIRONMENTS = Path(__file__).parents[2] / "runs" / "peers"

console = Console()


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each framework.")] = 2,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of each run.")] = 4,
    images: Annotated[int, typer.Option(help="Images in all, 80 for each batch.")] = 480,
    environments: Annotated[Path, typer.Option(help="Folder of what is installed.")] = ENVIRONMENTS,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = result_files.RESULTS,
    install_only: Annotated[bool, typer.Option(help="Install, and measure nothing.")] = False,
) -> None:
    """Install the frameworks, run them alternately, print a table and write the result.

    The result is written after every turn, so an interrupted call keeps it.
    """
    failed: dict[str, str] = {}
    pythons = _install(environments.absolute(), failed)
    if install_only:
        return
    others = [name for name in pythons if name != PLAIN]
    _check_some_are_left(others, failed)
    circumstances = machine.describe()
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        work = prepare(Path(folder), rounds=rounds, images=images)
        details = _details(work, pythons)
        for _ in range(repeats):
            for name in (PLAIN, FEDSKIN, *others):
                if name not in failed:
                    console.print(f"{name} …", highlight=False)
                    _run(name, pythons, work, runs, failed)
            _check_some_are_left(others, failed)
            measured = {name: of for name, of in runs.items() if name not in failed}
            found = comparison.results(measured, failed, details)
            path = result_files.write(found, circumstances, out)
    console.print(comparison.table(found, failed))
    console.print(f"Written to {path} and latest.md", highlight=False, soft_wrap=True)


def _details(work: Work, pythons: dict[str, Path]) -> dict[str, Any]:
    config = work.config.identity()
    return {
        "settings": {name: framework.settings for name, framework in FRAMEWORKS.items()},
        "fedskin's clients": asdict(work.resources),
        "versions in their environments": {
            name: versions(python, [*SHARED, *map(project, FRAMEWORKS[name].packages)])
            for name, python in pythons.items()
        },
        "rounds of a run": work.config.rounds,
        "config": {key: value for key, value in config.items() if not key.endswith("-dir")},
    }


def _install(folder: Path, failed: dict[str, str]) -> dict[str, Path]:
    pythons = {PLAIN: Path(sys.executable)}
    for name, framework in FRAMEWORKS.items():
        if framework.packages:
            console.print(f"installing {name} …", highlight=False)
            try:
                pythons[name] = install(folder, framework.packages, framework.against_metadata)
            except subprocess.CalledProcessError as error:
                failed[name] = tail(error.stderr)
    return pythons


def _check_some_are_left(others: list[str], failed: dict[str, str]) -> None:
    if not set(others) - set(failed):
        for name, why in failed.items():
            console.say(f"{name}: {why}")
        console.say("No other framework can be measured here")
        raise typer.Exit(1)


def _run(
    name: str,
    pythons: dict[str, Path],
    work: Work,
    runs: dict[str, list[Run]],
    failed: dict[str, str],
) -> None:
    """Run a framework once; a failure of another one than fedskin and the plain loop is noted."""
    try:
        if name == FEDSKIN:
            run = run_fedskin(work)
        else:
            run = run_framework(FRAMEWORKS[name], pythons[name], work)
        if name != PLAIN:
            comparison.loss_difference(run, runs[PLAIN][0])
    except RuntimeError as error:
        if name in (PLAIN, FEDSKIN):
            raise
        failed[name] = str(error)
        console.print(f"{name}: {error}", highlight=False)
    else:
        runs.setdefault(name, []).append(run)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
