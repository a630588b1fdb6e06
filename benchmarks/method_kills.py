"""A method of federated learning over hospitals whose processes are killed again and again."""

import hashlib
import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.disturbed_run import DisturbedRun, simulated, write_simulation
from benchmarks.hospitals_here import VICTIMS, Hospitals, command
from operation.processes import end_processes, processes_of
from strategies.methods import METHODS
from training.run_folder import RunFolder

KILLS = 10
# After a kill one round must end, and the next victim dies in the next one.
ROUNDS = 5 * KILLS // 2
# The smallest that has BatchNorm, which some methods treat apart.
BACKBONE = "timm:test_efficientnet"

# Methods that are FedAvg or the median over three hospitals, and clients with which they are not.
CROWDS = {"multikrum": 5, "trimmed-mean": 5, "bulyan": 7}

# Processes of a simulation, by what their command lines contain: the command itself, the SuperLink,
# two of Ray's, and a client's.
PARTS = ("experiments.cli", "flower_superlink", "gcs_server", "raylet", "operation.ray_worker")

# The copy of the final model, which simulated clients do not have.
_OF_SITES = "model.safetensors"


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        weights: the sha256 of the last weights at the server.
        figures: the figures of each client's test images, in the order of the clients, and of all
            together; those of the shared model, too, where clients have models of their own.
        kept: by client, the sha256 of each file that it keeps of the run, by path: its optimizer's
            state, its rounding errors, its method's state, its own model, its predictions.
        seconds: from the start to the end.
    """

    weights: str
    figures: list[Any]
    kept: list[dict[str, str]]
    seconds: float


@dataclass(frozen=True)
class Kill:
    """A process that was killed: the machine it belonged to, its part there, and the last round
    that was finished by then.
    """

    machine: str
    part: str
    after_round: int


def settings_of(strategy: str, crowd: int = 0) -> dict[str, Any]:
    """Return the settings of a run with as much state as the method allows.

    Args:
        crowd: number of clients, one of which may lie; 0: as many as there are hospitals.
    """
    sgd = {"optimizer": "sgd"} if METHODS[strategy].sgd_only else {}
    alone = {"min-replies": 1} if METHODS[strategy].pooled else {}  # one client trains
    many = {"clients": crowd, "min-replies": crowd} if crowd else {}
    if crowd and "byzantine-clients" in METHODS[strategy].keys:
        many["byzantine-clients"] = 1
    whole = {"strategy": strategy, "backbone": BACKBONE, "wire-format": "int8"}
    return {**whole, **sgd, **alone, **many}


def chosen(names: Sequence[str], generator: random.Random) -> list[tuple[str, str]]:
    """Return `KILLS` victims in a random order: every kind of `VICTIMS`, then of random kinds.

    A site's process is one of a random site.

    Args:
        names: the hospitals.
    """
    kinds = generator.sample(VICTIMS, len(VICTIMS))
    kinds += generator.choices(VICTIMS, k=KILLS - len(kinds))
    return [(name if name == "coordinator" else generator.choice(names), p) for name, p in kinds]


def undisturbed(
    hospitals: Hospitals, out: Path, data: Path, strategy: str, crowd: int = 0
) -> Ended:
    """Run a method in a simulation, without any kill.

    Args:
        hospitals: see `benchmarks.disturbed_run.simulated`.
        out: the run folder.
        data: the release whose shards the hospitals have.
        strategy: the method.
        crowd: see `settings_of`.

    Raises:
        RuntimeError: the run fails.
    """
    began = time.monotonic()
    simulated(hospitals, out, data, rounds=ROUNDS, settings=settings_of(strategy, crowd))
    return _ended(RunFolder(out), sorted((out / "clients").iterdir()), began)


def disturbed(
    hospitals: Hospitals,
    out: Path,
    strategy: str,
    victims: Sequence[tuple[str, str]],
    generator: random.Random,
) -> tuple[Ended, list[Kill]]:
    """Run a method, and kill one process after the other with -9.

    Each is killed after a round has ended since the kill before, within the time of the shortest
    round so far. No round ends without a reply from every hospital.

    Args:
        hospitals: already serving.
        out: the run folder.
        strategy: the method.
        victims: see `chosen`.
        generator: decides the moments.

    Raises:
        RuntimeError: the run fails or ends before the last kill, or a process to be killed is not
            found in time.
    """
    began = time.monotonic()
    kills, everybody = [], len(hospitals.names)
    settings = settings_of(strategy)
    with DisturbedRun(
        hospitals, out, rounds=ROUNDS, min_replies=everybody, settings=settings
    ) as run:
        for name, part in victims:
            run.wait_for_round((kills[-1].after_round if kills else 0) + 1)
            time.sleep(generator.random() * run.shortest_round())
            run.wait_for(f"{part} of {name}", lambda who=name, what=part: hospitals.kill(who, what))
            kills.append(Kill(name, part, run.rounds_done()))
        run.finish()
    name = str(run.folder.manifest()["run"])
    sites = [hospitals.folder / hospital / "runs" / name for hospital in hospitals.names]
    return _ended(run.folder, sites, began), kills


def killed_simulation(
    hospitals: Hospitals,
    out: Path,
    data: Path,
    strategy: str,
    generator: random.Random,
    crowd: int = 0,
) -> tuple[Ended, list[Kill]]:
    """Run a method in a simulation, kill one of its processes with -9, resume it, ten times.

    Every kind of `PARTS` is killed twice, in a random order, at moments as in `disturbed`.

    Args:
        hospitals, out, data, strategy, crowd: see `undisturbed`.
        generator: decides victims and moments.

    Raises:
        RuntimeError: the run is completed before the last kill, or fails after it.
    """
    began, folder = time.monotonic(), RunFolder(out)
    config = write_simulation(hospitals, out, data, ROUNDS, settings_of(strategy, crowd))
    run = hospitals.start(out.name, "simulate", str(config), "--out", str(out))
    kills: list[Kill] = []
    for part in generator.sample(PARTS * (KILLS // len(PARTS)), KILLS):
        if run.poll() is not None:
            run = hospitals.start(out.name, "simulate", "--resume", "--out", str(out))
        _wait_for_round(kills[-1].after_round + 1 if kills else 1, folder, run)
        records = folder.checkpoint.progress().records
        time.sleep(generator.random() * min(float(r["seconds"]["round"]) for r in records))
        token = str(folder.manifest()["starter"]["token"])
        known = [psutil.Process(run.pid), *processes_of(token)]
        # A simulation may have gone on without one of Ray's, which cannot be killed again.
        parts = {part: process for process in reversed(known) for part in _parts(process)}
        killed = part if part in parts else PARTS[0]
        parts[killed].kill()
        kills.append(Kill("the simulation", killed, folder.checkpoint.progress().round))
        _wait_for_round(kills[-1].after_round + 1, folder, run)
        if run.poll() is not None:
            end_processes(token)
    if run.wait() != 0:
        hospitals.fedskin("simulate", "--resume", "--out", str(out))
    return _ended(folder, sorted((out / "clients").iterdir()), began), kills


def _parts(process: psutil.Process) -> list[str]:
    try:
        said = command(process)
    except psutil.Error:  # it has ended
        return []
    return [part for part in PARTS if part in said]


def _wait_for_round(rounds: int, folder: RunFolder, run: "subprocess.Popen[bytes]") -> None:
    """Wait until a simulation has finished so many rounds, or has ended.

    Raises:
        RuntimeError: it is completed.
    """
    while folder.checkpoint.progress().round < rounds and run.poll() is None:
        time.sleep(0.02)
    if folder.is_completed():
        raise RuntimeError(f"{folder.path} was completed before the last kill")


def row(
    strategy: str, seed: int, calm: Ended, ended: Ended, kills: Sequence[Kill]
) -> dict[str, Any]:
    """Return the outcome of a method for the file of results."""
    return {
        "strategy": strategy,
        "seed": seed,
        "rounds": ROUNDS,
        "kills": [asdict(kill) for kill in kills],
        "seconds_simulated": round(calm.seconds, 1),
        "seconds": round(ended.seconds, 1),
        "weights_sha256": ended.weights,
        "same_weights": ended.weights == calm.weights,
        "same_figures": ended.figures == calm.figures,
        "files_of_clients": sum(map(len, calm.kept)),
        "same_files": ended.kept == calm.kept,
    }


def _ended(run_folder: RunFolder, clients: Sequence[Path], began: float) -> Ended:
    seconds = time.monotonic() - began
    metrics = run_folder.metrics()
    shared = metrics.get("shared", {})
    return Ended(
        weights=metrics["weights_sha256"],
        figures=[
            *(of.get("client_test") for of in (metrics, shared)),
            *(list(of.get("clients", {}).values()) for of in (metrics, shared)),
        ],
        kept=[_kept(folder) for folder in clients],
        seconds=seconds,
    )


def _kept(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _OF_SITES
    }
