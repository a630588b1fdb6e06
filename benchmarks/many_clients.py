"""Many hospitals: what one more client costs, in seconds and in memory.

``fedskin simulate`` as a user runs it, with 3, 30, 300 and 1,000 clients that have five synthetic
images each, a small network from random weights at 32 pixels, two rounds of all clients. A client's
work is then mostly what fedskin and Flower do for it: the message, the weights each way, the
network, a step of training, the mean. Measured are whole runs: the clients' introductions, rounds,
and evaluation of the last and of the best model by every client. Images are decoded before.

The memory of a process is what it alone has (``RssAnon``), so neither libraries nor shared pages
count; the messages and replies under way are in Ray's object store, in ``/dev/shm``, which nothing
else may use meanwhile. Both are looked at every half second.
"""

import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.result import Result
from benchmarks.start_up import FEDSKIN
from data_partition.synthetic_ham10000 import write_ham10000
from operation.processes import processes_of
from training.config import ExperimentConfig
from training.experiment_data import open_federated_data, open_test_data
from training.run_folder import RunFolder

CLIENTS = (3, 30, 300, 1000)
BACKBONE = "timm:mobilenetv3_small_050"  # 6 MB
IMAGES_PER_CLIENT = 5
LOOK_SECONDS, MEMORY_SECONDS = 0.05, 0.5
WORKER = "operation.ray_worker:main"  # the process of a client, or an idle one
SHARED = Path("/dev/shm")
# From here on a client may cost this much more than with the fewest clients above it.
FROM, GROWTH = 30, 1.2


@dataclass
class Peaks:
    """The most bytes that were seen of each kind of process, and in the object store."""

    peaks: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, number: int) -> None:
        """Keep the largest number of each kind."""
        self.peaks[what] = max(number, self.peaks.get(what, 0))


def measure(repeats: int = 1, *, clients: tuple[int, ...] = CLIENTS) -> list[Result]:
    """Run a simulation with each number of clients.

    Args:
        repeats: number of runs of each.
        clients: in ascending order.
    """
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in clients}
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        for number in clients:
            for _ in range(repeats):
                folder = Path(tempfile.mkdtemp(dir=name))
                found[number].append(_run(folder, number))
                shutil.rmtree(folder)
    return [_seconds(found), _memory(found)]


def _run(folder: Path, clients: int) -> dict[str, Any]:
    images = max(IMAGES_PER_CLIENT * clients, 168)
    write_ham10000(folder / "data", images)
    config = ExperimentConfig().replace(
        data_dir=str(folder / "data"),
        cache_dir=str(folder / "cache"),
        backbone=BACKBONE,
        pretrained=False,
        image_size=32,
        clients=clients,
        rounds=2,
        device="cpu",
    )
    open_federated_data(config)
    open_test_data(config)
    (folder / "bench.toml").write_text(config.to_toml(), encoding="utf-8")
    run = RunFolder(folder / "run")
    command = [
        *FEDSKIN,
        *("simulate", str(folder / "bench.toml"), "--out", str(run.path)),
    ]
    peaks, shared = Peaks(), shutil.disk_usage(SHARED).used
    phases: dict[str, float] = {}
    with (folder / "output.txt").open("wb") as output:
        began = time.perf_counter()
        starter = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            looked = began
            while starter.poll() is None:
                manifest = run.manifest() if run.exists() else {}
                phases.setdefault(manifest.get("phase", "starting"), time.perf_counter() - began)
                if time.perf_counter() > looked + MEMORY_SECONDS:
                    _look(peaks, starter, manifest, shared)
                    looked = time.perf_counter()
                time.sleep(LOOK_SECONDS)
        finally:
            if starter.poll() is None:
                starter.terminate()
                starter.wait()
    if starter.returncode != 0:
        raise RuntimeError((folder / "output.txt").read_text(encoding="utf-8"))
    ended = time.perf_counter() - began
    assert run.metrics()["participation"] == dict.fromkeys(run.metrics()["participation"], 2)
    begins = [*phases.values(), ended]
    lasted = {
        phase: begins[place + 1] - start for place, (phase, start) in enumerate(phases.items())
    }
    rounds = [record["seconds"] for record in run.rounds()]
    working = sum(
        client["seconds"]["message"]
        for record in run.rounds()
        for client in record["clients"].values()
    )
    return {
        "seconds": ended,
        "introductions": lasted.get("starting the clients", 0.0),
        "rounds": sum(record["round"] for record in rounds),
        "judging": lasted["judging"],
        "working": working,
        "transport": sum(record["transport"] for record in rounds),
        "waiting": sum(record["waiting"] for record in rounds),
        **peaks.peaks,
    }


def _look(peaks: Peaks, starter: psutil.Process, manifest: dict[str, Any], shared: int) -> None:
    peaks.note("the starter", _own_bytes(starter.pid))
    peaks.note("object store", shutil.disk_usage(SHARED).used - shared)
    if server := manifest.get("server"):
        peaks.note("the server", _own_bytes(server["pid"]))
    for process in processes_of(manifest.get("starter", {}).get("token", "")):
        try:
            if WORKER in process.cmdline():
                peaks.note("a client's process", _own_bytes(process.pid))
        except psutil.NoSuchProcess:
            continue


def _own_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def _seconds(found: dict[int, list[dict[str, Any]]]) -> Result:
    samples = {
        f"{number} clients": [1000 * run["rounds"] / 2 / number for run in runs]
        for number, runs in found.items()
    }
    return Result(
        name="many-clients",
        compares="Milliseconds of a round for each client, with the most clients over those with "
        f"{FROM}: two rounds of all clients, five images each, {BACKBONE} at 32 pixels.",
        value=_growth({n: statistics.median(samples[f"{n} clients"]) for n in found}),
        unit="x",
        samples=samples,
        samples_unit="ms",
        at_most=GROWTH,
        details={
            f"{number} clients, seconds": {
                key: statistics.median(run[key] for run in runs)
                for key in ("introductions", "rounds", "judging", "working", "transport", "waiting")
            }
            for number, runs in found.items()
        },
    )


def _memory(found: dict[int, list[dict[str, Any]]]) -> Result:
    kinds = ("the starter", "the server", "a client's process", "object store")
    megabytes = {
        number: {kind: max(run.get(kind, 0) for run in runs) / 1e6 for kind in kinds}
        for number, runs in found.items()
    }
    samples = {f"{number} clients": [sum(megabytes[number].values())] for number in found}
    return Result(
        name="many-clients-memory",
        compares="Peak megabytes of starter, server, one client's process and object store "
        f"together, with the most clients over those with {FROM}.",
        value=_growth({number: samples[f"{number} clients"][0] for number in found}),
        unit="x",
        samples=samples,
        samples_unit="MB",
        at_most=GROWTH,
        details={f"{number} clients, MB": kinds for number, kinds in megabytes.items()},
    )


def _growth(figures: dict[int, float]) -> float:
    """Return the largest figure from ``FROM`` clients on over the first of them."""
    later = [figure for number, figure in figures.items() if number >= FROM]
    return max(later) / later[0] if later else 1.0
