"""The duration of ``fedskin report`` on a large campaign, from the command to its end.

The campaign is generated: run folders like those of the study's three tasks over its 12 backbones,
with as many seeds as needed.
"""

import subprocess
import tempfile
import time
from pathlib import Path

import joblib

from benchmarks.result import Result
from benchmarks.start_up import FEDSKIN
from tests.generated_campaign import STUDY_BACKBONES, write_campaign

OURS = "fedskin report"
TRIALS_OF_A_BACKBONE = 17


def measure(repeats: int = 3, *, trials: int = 500, rounds: int = 50) -> list[Result]:
    """Make the report of one generated campaign repeatedly.

    Args:
        repeats: samples.
        trials, rounds: size of the campaign.
    """
    num_seeds = -(-trials // (TRIALS_OF_A_BACKBONE * len(STUDY_BACKBONES)))
    seconds = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "campaign"
        write_campaign(folder, trials=trials, rounds=rounds, seeds=range(num_seeds))
        for _ in range(repeats):
            started = time.perf_counter()
            command = [*FEDSKIN, "report", str(folder)]
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        files = [path for path in (folder / "report").rglob("*") if path.is_file()]
        page_bytes = (folder / "report" / "index.html").stat().st_size
    result = Result(
        name="report",
        compares=f"The whole command on {trials} trials of {rounds} rounds, with Python's start.",
        value=sorted(seconds)[len(seconds) // 2],
        unit="s",
        samples={OURS: seconds},
        at_most=30,
        details={
            "trials": trials,
            "rounds": rounds,
            "cores": joblib.cpu_count(),
            "figures": sum(path.suffix == ".svg" for path in files),
            "tables": sum(path.suffix == ".tex" for path in files),
            "megabytes of the page": page_bytes / 1e6,
        },
    )
    return [result]
