"""Three hospitals whose processes are killed with -9 in the middle of rounds: the same weights?"""

import random
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.hospitals import Hospitals
from operation.files import read_json
from training.run_folder import RunFolder

# With min-replies = 3 no round is closed without a hospital; Adam's persistent state would show a
# step that was taken twice.
CONFIG: dict[str, Any] = {
    "dataset": "ham10000",
    "backbone": "resnet18",
    "pretrained": False,
    "image-size": 32,
    "batch-size": 8,
    "min-replies": 3,
    "optimizer": "adam",
    "client-optimizer": "persistent",
    "threads-per-client": 1,
    "device": "cpu",
}

# A killed SuperNode is let in again when its heartbeat has run out, after about a minute.
_LIMIT_SECONDS = 300.0


def run_disturbed(
    hospitals: Hospitals, out: Path, victims: Iterable[tuple[str, str]], *, seed: int
) -> dict[str, Any]:
    """Run a federation in which one process after the other is killed; return its final figures.

    Args:
        hospitals: serving.
        out: the run folder.
        victims: see `benchmarks.hospitals.VICTIMS`; a round begins before each kill.
        seed: says at which moment of its round each is killed.

    Raises:
        RuntimeError: the run does not end well, or a process to be killed is not there in time.
    """
    generator = random.Random(seed)
    victims = list(victims)
    config = hospitals.folder / f"{out.name}.toml"
    config.write_text(tomli_w.dumps({**CONFIG, "rounds": len(victims) + 2}), encoding="utf-8")
    words = ("run", str(config), "--on", str(hospitals.coordinator), "--out", str(out))
    run = hospitals.start(out.name, *words)
    try:
        for number, (name, part) in enumerate(victims, start=1):
            _wait(hospitals, out, number, run)
            time.sleep(generator.uniform(0, 3))
            deadline = time.monotonic() + _LIMIT_SECONDS
            while not hospitals.kill(name, part):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{name} has no process {part}")
                time.sleep(0.05)
        while run.poll() is None:
            hospitals.tend()
            time.sleep(0.2)
    finally:
        run.kill()
        run.wait()
    if run.returncode != 0:
        raise RuntimeError(hospitals.output(out.name).read_text(encoding="utf-8"))
    return RunFolder(out).metrics()


def simulated(hospitals: Hospitals, out: Path, data: Path, *, rounds: int) -> dict[str, Any]:
    """Return the final figures of the same run in a simulation of three clients.

    Args:
        hospitals: whose command line is used.
        out: the run folder.
        data: the release that the hospitals hold shards of.
        rounds: as many as in the run over the hospitals.
    """
    values = {**CONFIG, "rounds": rounds, "data-dir": str(data)}
    config = hospitals.folder / f"{out.name}.toml"
    config.write_text(tomli_w.dumps(values), encoding="utf-8")
    hospitals.fedskin("simulate", str(config), "--out", str(out))
    return RunFolder(out).metrics()


def _wait(hospitals: Hospitals, out: Path, rounds: int, run: subprocess.Popen[bytes]) -> None:
    """Wait until so many rounds are finished, so that the next one is under way."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while True:
        hospitals.tend()
        state = read_json(out / "checkpoint" / "state.json")
        if state is not None and state["round"] >= rounds:
            return
        if run.poll() is not None:
            raise RuntimeError(hospitals.output(out.name).read_text(encoding="utf-8"))
        if time.monotonic() > deadline:
            raise RuntimeError(f"round {rounds} was not finished in {_LIMIT_SECONDS:.0f} s")
        time.sleep(0.1)
