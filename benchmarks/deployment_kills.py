"""Hospitals whose processes are killed with -9 in the middle of rounds: the same weights?"""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.disturbed_run import DisturbedRun
from benchmarks.hospitals import Hospitals


def run_disturbed(
    hospitals: Hospitals, out: Path, victims: Sequence[tuple[str, str]], *, seed: int
) -> dict[str, Any]:
    """Run a federation in which one process after the other is killed; return its final figures.

    No round is closed without a hospital.

    Args:
        hospitals: serving.
        out: the run folder.
        victims: see `benchmarks.hospitals.VICTIMS`; a round begins before each kill.
        seed: says at which moment of its round each is killed.

    Raises:
        RuntimeError: the run does not end well, or a process to be killed is not there in time.
    """
    generator = random.Random(seed)
    rounds, everybody = len(victims) + 2, len(hospitals.names)
    with DisturbedRun(hospitals, out, rounds=rounds, min_replies=everybody) as run:
        for number, (name, part) in enumerate(victims, start=1):
            run.wait_for_round(number)
            time.sleep(generator.uniform(0, 3))
            run.wait_for(f"{part} of {name}", lambda who=name, what=part: hospitals.kill(who, what))
        return run.finish()
