"""``make soak``: kill every process of a federation of hospitals, and record how each run ended."""

import random

from benchmarks import machine
from benchmarks.deployment_kills import run_disturbed
from benchmarks.disturbed_run import simulated
from benchmarks.hospitals_here import VICTIMS, Hospitals
from benchmarks.soaking import soak_folders, write_soak
from experiments.console import Console

RUNS = 3

console = Console()


def main() -> None:
    """Kill all processes in turn during runs over hospitals; different weights end it with an
    error.
    """
    circumstances = machine.describe()
    with soak_folders() as (folder, data, serving), Hospitals(serving, data) as hospitals:
        rounds = len(VICTIMS) + 2
        expected = simulated(hospitals, folder / "simulated", data, rounds=rounds)
        runs = []
        for seed in range(RUNS):
            victims = random.Random(seed).sample(VICTIMS, len(VICTIMS))
            found = run_disturbed(hospitals, folder / f"run-{seed}", victims, seed=seed)
            same = found["weights_sha256"] == expected["weights_sha256"]
            killed = [f"{name}: {part}" for name, part in victims]
            runs.append({"seed": seed, "killed": killed, "same_weights": same})
            console.print(f"{seed + 1} of {RUNS}: {runs[-1]}", highlight=False)
            if not same:
                raise RuntimeError(f"different weights after {killed}")
    sha256 = expected["weights_sha256"]
    path = write_soak("soak-deployment", circumstances, weights_sha256=sha256, runs=runs)
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
