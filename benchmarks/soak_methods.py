"""``make soak``: ten kills during a run of every method over hospitals, which must change nothing.

Pooled training, which no hospital can run, is killed in a simulation, and resumed after each kill;
so are robust means that take more clients than there are hospitals, in a row of their own.

``python -m benchmarks.soak_methods [STRATEGY ...]`` runs some methods again, and ``--crowds`` only
the robust means with more clients; the others keep their rows.
"""

import random
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.hospitals_here import Hospitals
from benchmarks.method_kills import (
    CROWDS,
    chosen,
    disturbed,
    killed_simulation,
    row,
    undisturbed,
)
from benchmarks.result_files import RESULTS
from benchmarks.soaking import soak_folders, write_soak
from experiments.console import Console
from operation.files import read_json
from strategies.method import Method
from strategies.methods import METHODS

NAME = "soak-methods"

console = Console()


def in_order() -> list[str]:
    """Return all methods, those with a state of their own first."""
    return sorted(METHODS.own, key=lambda name: not _has_state(METHODS[name]))


def run_method(
    hospitals: Hospitals, folder: Path, data: Path, strategy: str, *, seed: int = 0
) -> dict[str, Any]:
    """Run a method in a simulation, and over hospitals (pooled training: in a simulation) with ten
    kills; return the outcome.

    Args:
        hospitals: already serving.
        folder: for the run folders.
        data: the release whose shards the hospitals have.
        strategy: the method.
        seed: decides victims and moments.

    Raises:
        RuntimeError: a run fails.
    """
    calm = undisturbed(hospitals, folder / f"{strategy}-simulated", data, strategy)
    generator = random.Random(f"{strategy} {seed}")
    out = folder / f"{strategy}-killed"
    if METHODS[strategy].pooled:
        ended, kills = killed_simulation(hospitals, out, data, strategy, generator)
    else:
        victims = chosen(hospitals.names, generator)
        ended, kills = disturbed(hospitals, out, strategy, victims, generator)
    return row(strategy, seed, calm, ended, kills)


def run_crowd(hospitals: Hospitals, folder: Path, data: Path, strategy: str) -> dict[str, Any]:
    """Run a robust mean in a simulation of `CROWDS` clients, without and with ten kills.

    For arguments and errors see `run_method`.
    """
    crowd = CROWDS[strategy]
    name = f"{strategy}-of-{crowd}"
    calm = undisturbed(hospitals, folder / f"{name}-simulated", data, strategy, crowd)
    generator, out = random.Random(name), folder / f"{name}-killed"
    ended, kills = killed_simulation(hospitals, out, data, strategy, generator, crowd)
    return {**row(strategy, 0, calm, ended, kills), "clients": crowd}


def main() -> None:
    """Run the methods; any that ends otherwise after kills ends it with an error, after all others.

    The file is written after each method, so an interrupted call keeps its results.
    """
    circumstances = machine.describe()
    rows = {
        (each["strategy"], each.get("clients")): each
        for each in (read_json(RESULTS / f"{NAME}.json") or {}).get("methods", [])
    }
    wanted = [] if sys.argv[1:] == ["--crowds"] else sys.argv[1:] or in_order()
    todo = [(run_method, name) for name in wanted]
    todo += [(run_crowd, name) for name in CROWDS if name in wanted or not wanted]
    differ = []
    with soak_folders() as (folder, data, serving), Hospitals(serving, data) as hospitals:
        for number, (run, name) in enumerate(todo, start=1):
            found = run(hospitals, folder, data, name)
            found["git_commit"] = circumstances["git_commit"]
            rows[name, found.get("clients")] = found
            console.print(f"{number} of {len(todo)}: {found}", highlight=False)
            path = write_soak(NAME, circumstances, methods=list(rows.values()))
            if not all(value for key, value in found.items() if key.startswith("same")):
                differ.append(name)
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)
    if differ:
        raise RuntimeError(f"not the same after kills: {', '.join(differ)}")


def _has_state(method: Method) -> bool:
    own = (method.client_state, method.local, method.own_half, method.tuning_epochs)
    return any((method.server_init, *own))


if __name__ == "__main__":
    main()
