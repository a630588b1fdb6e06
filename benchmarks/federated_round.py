"""The cost of federation: a round of a real simulation over the same work in a plain loop.

The federated side is ``fedskin simulate`` as a user runs it: a SuperLink, the ServerApp and clients
that are Ray actors, FedAvg from random weights, 64 pixels, batches of 16. Three clients with 96
training and 32 validation images each train convnext_t, and then resnet18; and thirty clients of 32
images, of which they train on 19, resnet18. A sample is ``seconds.round`` of ``rounds.jsonl``:
from the end of the previous round to the end of this one. It includes sending, validating, training
and averaging, while the previous checkpoint is written. The plain side is `benchmarks.plain_loop`:
one process, all cores as torch threads, the same batches of the same images, and no checkpoint.
Round one of either side is not counted: nothing is validated in it, and memory is used for the
first time.

The federated side can be faster, since three clients in parallel use two cores better than one
network on two threads: that is the target for three. With thirty, whose clients train two batches
each, moving weights around must not cost more than that saves. Plain loops run before, between and
after the simulations, so that a change in the machine's speed affects both. Their training losses
are compared to show that both sides do the same work.

The result is valid on a quiet machine only. Two threads that wait for each other at every layer
lose far more time to other load than three independent clients do, so other load favours the
federated side. Trust the ratio if the plain loop had its cores to itself; ``cores that the plain
loop got`` shows this.

The first simulations also give the start-up time, see `benchmarks.start_up`. Images are decoded and
files read before, so neither is counted.
"""

import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

import joblib

from benchmarks.plain_loop import PlainRound, run_plain_loop
from benchmarks.result import Result, ratio
from benchmarks.start_up import StartUp, run_command
from benchmarks.timing import torch_threads
from data_partition.synthetic_ham10000 import write_ham10000
from fl_server.federated_config import prepare_simulated
from training.config import ExperimentConfig
from training.experiment_data import open_federated_data, open_test_data
from training.run_folder import RunFolder
from training.split import FederatedData

FEDERATED, PLAIN = "fedskin simulate", "plain loop"
SAME = "simulations with the same weights"
# Rounding depends on the number of threads; a wrong batch would change the loss far more.
LOSS_TOLERANCE = 0.02
# So small that BatchNorm, which magnifies rounding, does not make the two trainings differ.
LEARNING_RATE = 1e-4


def measure(repeats: int = 3) -> list[Result]:
    """Compare rounds of three clients, with either network, and of thirty; seven minutes.

    Args:
        repeats: as for `compare`.
    """
    return [
        *compare(repeats),
        compare(repeats, name="federated-round-resnet18", backbone="resnet18", simulations=2)[0],
        compare(
            repeats,
            name="federated-round-30-clients",
            backbone="resnet18",
            clients=30,
            images=30 * 32,
            simulations=2,
            at_most=1.0,
        )[0],
    ]


def compare(
    repeats: int = 3,
    *,
    name: str = "federated-round",
    at_most: float = 0.9,
    simulations: int = 3,
    clients: int = 3,
    images: int = 480,
    backbone: str = "convnext_t",
    image_size: int = 64,
    batch_size: int = 16,
    device: str = "cpu",
    precision: str = "float32",
) -> list[Result]:
    """Run plain loops and simulations alternately.

    Args:
        repeats: number of counted rounds in each simulation and each plain loop.
        name, at_most: the first result's name and target.
        simulations: number of simulations; there is one more plain loop.
        images: number of images of the synthetic data set; each client has an equal part and trains
            on 60 % of it.
        clients, backbone, image_size, batch_size, device, precision: as in a config.

    Returns:
        The rounds' result first, and the start-up times.
    """
    rounds = repeats + 1
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as place:
        folder = Path(place)
        write_ham10000(folder / "data", images)
        wanted = ExperimentConfig().replace(
            data_dir=str(folder / "data"),
            cache_dir=str(folder / "cache"),
            backbone=backbone,
            pretrained=False,
            clients=clients,
            image_size=image_size,
            batch_size=batch_size,
            learning_rate=LEARNING_RATE,
            rounds=rounds,
            device=device,
            precision=precision,
        )
        config, resources = prepare_simulated(wanted)
        data = open_federated_data(config)
        open_test_data(config)
        (folder / "bench.toml").write_text(wanted.to_toml(), encoding="utf-8")

        plain = [_plain(config, data, rounds)]
        runs: list[RunFolder] = []
        starts: list[StartUp] = []
        for number in range(simulations):
            runs.append(RunFolder(folder / f"run-{number}"))
            starts.append(run_command(folder / "bench.toml", runs[-1], folder))
            plain.append(_plain(config, data, rounds))
        records = [record for run in runs for record in run.rounds()]
        weights = {run.metrics()["weights_sha256"] for run in runs}

    steady = [record for record in records if record["round"] > 1]
    samples = {
        FEDERATED: [record["seconds"]["round"] for record in steady],
        PLAIN: [one.seconds for loop in plain for one in loop[1:]],
    }
    replies = [client for record in steady for client in record["clients"].values()]
    settings = {key: value for key, value in config.identity().items() if not key.endswith("-dir")}
    figures = {
        "largest relative difference of a training loss": _check_losses(records, plain[0]),
        SAME: len(weights) == 1,
        "training images": records[0]["examples"],
        "threads of the plain loop": joblib.cpu_count(),
        "cores that the plain loop got": statistics.median(
            one.cpu_seconds / one.seconds for loop in plain for one in loop[1:]
        ),
        "side by side": asdict(resources),
        "seconds of a federated round": {
            phase: statistics.median(record["seconds"][phase] for record in steady)
            for phase in ("clients", "aggregation", "checkpoint")
        },
        "seconds of a client": {
            phase: statistics.median(reply["seconds"][phase] for reply in replies)
            for phase in ("message", "validation", "training")
        },
        "config": settings,
    }
    return [
        Result(
            name=name,
            compares=f"A steady round of a real simulation (SuperLink, Ray, {clients} clients, "
            f"{backbone}), with its checkpoint, over the same work in one plain PyTorch process "
            "with all cores.",
            value=ratio(FEDERATED, PLAIN, samples),
            unit="x",
            samples=samples,
            at_most=at_most,
            details=figures,
        ),
        *_start_up_results(starts),
    ]


def _plain(config: ExperimentConfig, data: FederatedData, rounds: int) -> list[PlainRound]:
    with torch_threads(joblib.cpu_count()):
        return run_plain_loop(config, data, rounds)


def _check_losses(records: list[dict], plain: list[PlainRound]) -> float:
    """Return the largest relative difference of a round's losses; raise if it is too large.

    Raises:
        RuntimeError: the two sides did different work, so their times cannot be compared.
    """
    worst = max(
        abs(record["train_loss"] / plain[record["round"] - 1].train_loss - 1) for record in records
    )
    if worst > LOSS_TOLERANCE:
        raise RuntimeError(f"the training losses of the two sides differ by {100 * worst:.1f} %")
    return float(worst)


def _start_up_results(starts: list[StartUp]) -> list[Result]:
    reached = {
        name: statistics.median(asdict(start)[name] for start in starts)
        for name in asdict(starts[0])
    }
    samples = {"to the first step": [start.first_step for start in starts]}
    flower = {"Flower's part": [start.flower for start in starts]}
    return [
        Result(
            name="start-up",
            compares="Seconds from the command to the first training step of round one, images "
            "decoded before.",
            value=statistics.median(samples["to the first step"]),
            unit="s",
            samples=samples,
            at_most=10.0,
            details={"seconds from the command, medians": reached},
        ),
        Result(
            name="start-up-flower",
            compares="Seconds of that from the run's submission until all clients answered their "
            "first message: the rest of the libraries' import, and Flower's and Ray's processes.",
            value=statistics.median(flower["Flower's part"]),
            unit="s",
            samples=flower,
        ),
    ]
