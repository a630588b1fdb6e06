"""The cost of a round over real sites: ``fedskin run`` over bare Flower, with the same small task.

Our side is a coordinator and three sites as users start them (`benchmarks.hospitals_here`): TLS,
keys, approval, guards. A sample is ``seconds.round`` of ``rounds.jsonl``. The other side is
Flower's own deployment (`benchmarks.bare_flower`) with a plain app (`benchmarks.bare_app`): FedAvg
with train and evaluate messages; a sample is the time between two calls of its ``evaluate_fn``.
Both train resnet18 from random weights with the same number of images of 32 pixels and of batches,
one thread per client, and evaluate on the same number of images. On either side all processes share
this machine. Round one is not counted: in it caches are built, and our clients do not validate.

Bare Flower keeps the SuperLink's state in memory by default, and so do we. If that process dies,
bare Flower loses everything; our run continues from its run folder.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tomli_w

from benchmarks.bare_flower import BareFlower
from benchmarks.hospitals_here import FORK, NAMES, Hospitals, command
from benchmarks.peak_memory import peak_bytes
from benchmarks.result import Result, ratio
from data_partition.synthetic_ham10000 import write_ham10000
from training.run_folder import RunFolder

OURS, BARE = "fedskin run", "bare Flower"
# The kinds of processes of a deployment, by a part of their command line on either side.
PROCESSES = {
    "SuperLink": ("fl_server.coordinator.superlink", "flower-superlink"),
    "ServerApp": ("flwr-serverapp",),
    "SuperNode": ("fl_client.site.supernode", "flower-supernode"),
    "ClientApp": (FORK, "flwr-clientapp"),
}

_RUN_SECONDS = 3600.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        seconds: time since the end of the previous round.
        computing: how many of these seconds the slowest client computed. Bare Flower does not
            measure this, so there it is the whole time in the client functions, from message to
            reply.
    """

    seconds: float
    computing: float


@dataclass(frozen=True)
class Side:
    """The measurements of one run.

    Attributes:
        rounds: the counted rounds: from the second on.
        peaks: maximum resident bytes of any one process, for each kind of `PROCESSES`.
        sizes: images of each client in ``train`` and ``validation``.
    """

    rounds: list[Round]
    peaks: dict[str, int]
    sizes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Work:
    """The task of both sides.

    Attributes:
        sites: number of sites.
        images: number of images of the synthetic release; each site has an equal share.
        backbone, image_size, batch_size: as in a config.
        rounds: number of rounds, including the first.
        settings: further config keys, for our side only.
    """

    sites: int
    images: int
    backbone: str
    image_size: int
    batch_size: int
    rounds: int
    settings: Mapping[str, str] = field(default_factory=dict)


def measure(repeats: int = 5, *, images: int = 60) -> list[Result]:
    """Run the same task over sites and over bare Flower.

    Args:
        repeats: number of counted rounds.
        images: number of images of the synthetic data set; each site has a third.
    """
    work = Work(
        sites=len(NAMES),
        images=images,
        backbone="resnet18",
        image_size=32,
        batch_size=16,
        rounds=repeats + 1,
    )
    ours = over_sites(work)
    found = {OURS: ours, BARE: over_bare_flower(work, ours.sizes)}
    samples = {name: [one.seconds for one in side.rounds] for name, side in found.items()}
    return [
        Result(
            name="deployed-round",
            compares="A round over three real sites on one machine, over a train-and-evaluate "
            "round of Flower's own deployment.",
            value=ratio(OURS, BARE, samples),
            unit="x",
            samples=samples,
            at_most=0.5,
            details={
                "backbone": work.backbone,
                "image size": work.image_size,
                "images of a client": found[OURS].sizes,
            },
        )
    ]


def over_sites(work: Work) -> Side:
    """Run the task with ``fedskin run`` over sites that are started for it."""
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        folder = Path(name)
        write_ham10000(folder / "data", work.images)
        config = {
            "dataset": "ham10000",
            "backbone": work.backbone,
            "pretrained": False,
            "image-size": work.image_size,
            "batch-size": work.batch_size,
            "rounds": work.rounds,
            "clients": work.sites,
            "threads-per-client": 1,
            "device": "cpu",
            **work.settings,
        }
        (folder / "run.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        out = folder / "run"
        (folder / "federation").mkdir()
        names = NAMES[: work.sites]
        with Hospitals(folder / "federation", folder / "data", names) as hospitals:
            run = hospitals.start(
                "run",
                *("run", str(folder / "run.toml")),
                *("--on", str(hospitals.coordinator), "--out", str(out)),
            )
            parts = ("coordinator", *names)
            peaks = watch(run, lambda: [p for name in parts for p in hospitals.processes(name)])
            if run.returncode != 0:
                raise RuntimeError(hospitals.output("run").read_text(encoding="utf-8"))
        client = RunFolder(out).manifest()["clients"][names[0]]
        records = RunFolder(out).rounds()[1:]
    rounds = [
        Round(
            record["seconds"]["round"],
            max(
                client["seconds"]["training"] + client["seconds"]["validation"]
                for client in record["clients"].values()
            ),
        )
        for record in records
    ]
    return Side(rounds, peaks, {split: client[split] for split in ("train", "validation")})


def over_bare_flower(work: Work, sizes: dict[str, int]) -> Side:
    """Run the same task with Flower's own programs and a plain app.

    Args:
        work: the task.
        sizes: images of each client in ``train`` and ``validation``.
    """
    config = {
        "backbone": work.backbone,
        "image-size": work.image_size,
        "batch-size": work.batch_size,
        "rounds": work.rounds,
        "train-images": sizes["train"],
        "validation-images": sizes["validation"],
    }
    with (
        tempfile.TemporaryDirectory(prefix="fedskin-bench-") as folder,
        BareFlower(Path(folder), work.sites) as flower,
    ):
        peaks = watch(flower.start(config), flower.processes)
        rounds = [Round(one["seconds"], one["computing"]) for one in flower.rounds()[1:]]
    return Side(rounds, peaks, dict(sizes))


def watch(
    run: subprocess.Popen[bytes], processes: Callable[[], Iterable[psutil.Process]]
) -> dict[str, int]:
    """Wait for a run's end.

    Args:
        run: the run's command, which ends with it; killed after the time limit.
        processes: returns the processes that do the run's work.

    Returns:
        For each kind of `PROCESSES`, the maximum resident bytes of any one process.

    Raises:
        RuntimeError: it takes more than an hour.
    """
    peaks: dict[str, int] = {}
    deadline = time.monotonic() + _RUN_SECONDS
    try:
        while run.poll() is None:
            for process in processes():
                try:
                    kind = kind_of(command(process))
                    peak = peak_bytes(process.pid) if kind else None
                except (psutil.Error, OSError):  # the process has ended
                    continue
                if kind and peak:
                    peaks[kind] = max(peaks.get(kind, 0), peak)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the run did not end within {_RUN_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)
    finally:
        run.kill()
        run.wait()
    return peaks


def kind_of(command: str) -> str | None:
    """Return the kind in `PROCESSES` that a command line belongs to, None if to none."""
    for kind, parts in PROCESSES.items():
        if any(part in command for part in parts):
            return kind
    return None
