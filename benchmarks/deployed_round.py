"""What a round over real sites costs: ``fedskin run`` over bare Flower, the same small work.

Our side is a coordinator and three sites as people start them (`benchmarks.hospitals`): TLS, keys,
approval, guards. A sample is ``seconds.round`` of ``rounds.jsonl``. The other side is Flower's own
deployment (`benchmarks.bare_flower`) with a plain app (`benchmarks.bare_app`): FedAvg with train
and evaluate messages; a sample is what passes between two calls of its ``evaluate_fn``. Both train
resnet18 from random weights on as many images of 32 pixels in as many batches, one thread a
client, and judge it on as many. On either side all processes share this machine. Round one is left
out: in it caches are built, and our clients judge nothing.

Bare Flower keeps the SuperLink's state in memory, as is its default and as ours does. Then all is
lost with that process, where ours goes on from the run folder.
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
from benchmarks.hospitals import FORK, NAMES, Hospitals, command
from benchmarks.memory import peak_bytes
from benchmarks.result import Result, ratio
from data_partition.synthetic import write_ham10000
from training.run_folder import RunFolder

OURS, BARE = "fedskin run", "bare Flower"
# The parts of a deployment, by what stands in the command line of either side.
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
    """A round.

    Attributes:
        seconds: from the end of the round before.
        computing: seconds of them that the slowest client took to compute; of bare Flower's, which
            do not say more, all that their functions took, from message to reply.
    """

    seconds: float
    computing: float


@dataclass(frozen=True)
class Side:
    """What was measured of a run.

    Attributes:
        rounds: those that count: from the second on.
        peaks: the most resident bytes that any process of each kind of `PROCESSES` ever held.
        sizes: images of each client in ``train`` and ``validation``.
    """

    rounds: list[Round]
    peaks: dict[str, int]
    sizes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides do.

    Attributes:
        sites: how many.
        images: of the synthetic release, of which each site holds an equal share.
        backbone, image_size, batch_size: as in a config.
        rounds: how many, with the first.
        settings: further ones, of our side only.
    """

    sites: int
    images: int
    backbone: str
    image_size: int
    batch_size: int
    rounds: int
    settings: Mapping[str, str] = field(default_factory=dict)


def measure(repeats: int = 5, *, images: int = 60) -> list[Result]:
    """Run the same work over sites and over bare Flower.

    Args:
        repeats: rounds that count.
        images: of the synthetic data set, of which each site holds a third.
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
    """Do the work with ``fedskin run`` over sites that are started for it."""
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
    """Do the same work with Flower's own programs and a plain app.

    Args:
        work: what to do.
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
        run: the command that ends with it; killed if it takes too long.
        processes: returns those that do the run's work.

    Returns:
        For each kind of `PROCESSES` the peak of the resident bytes of any process of it.

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
                except (psutil.Error, OSError):  # it has ended meanwhile
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
    """Return which of `PROCESSES` a command belongs to, None if to none."""
    for kind, parts in PROCESSES.items():
        if any(part in command for part in parts):
            return kind
    return None
