"""Hospitals whose processes are killed with -9 in mid-round: are the weights the same?"""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.disturbed_run import DisturbedRun
from benchmarks.hospitals_here import Hospitals


def run_disturbed(
    hospitals: Hospitals, out: Path, victims: Sequence[tuple[str, str]], *, seed: int
) -> dict[str, Any]:
    """Run a federation and kill one process after the other; return its final metrics.

    No round ends without a reply from every hospital.

    Args:
        hospitals: already serving.
        out: the run folder.
        victims: see `benchmarks.hospitals_here.VICTIMS`; each is killed in a new round.
        seed: decides the moment of each kill within its round.

    Raises:
        RuntimeError: the run fails, or a process to be killed is not found in time.
    """
    generator = random.Random(seed)
    rounds, everybody = len(victims) + 2, len(hospitals.names)
    with DisturbedRun(hospitals, out, rounds=rounds, min_replies=everybody) as run:
        for number, (name, part) in enumerate(victims, start=1):
            run.wait_for_round(number)
            time.sleep(generator.uniform(0, 3))
            run.wait_for(f"{part} of {name}", lambda who=name, what=part: hospitals.kill(who, what))
        return run.finish()
