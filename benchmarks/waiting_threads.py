"""The effect of how threads wait on a training step, on a quiet machine and beside other processes.

All sides are steps of `training.epoch.train_epoch` in separate processes, since OpenMP reads its
settings only once: resnet18 at 64 pixels, 32 images per step. By default OpenMP's threads wait for
one another in a busy loop. This takes the core away from the thread they wait for as soon as
another process needs a core. With OMP_WAIT_POLICY=PASSIVE, which fedskin sets, they sleep. The
other processes only count. The weights must be bit-identical in all cases.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from benchmarks.result import Result, ratio
from operation.environment import SLEEPING_THREADS

SPINNING, SLEEPING = "spinning", "sleeping"
SECONDS = 3.0
STEPS = 4


def measure(repeats: int = 5) -> list[Result]:
    """Train alternately with sleeping and with busy threads, alone and beside another process.

    Args:
        repeats: number of processes of each kind.
    """
    samples: dict[str, list[float]] = {}
    weights: dict[int, set[str]] = {}
    numbers = sorted({1, joblib.cpu_count()})
    for turn in range(repeats):
        for others in (0, 1):
            for threads in numbers:
                for way in (SPINNING, SLEEPING)[:: 1 if turn % 2 == 0 else -1]:
                    side = f"{way}, {threads} threads, {others} other processes"
                    with _counting(others):
                        found = _in_a_process(threads, way)
                    samples.setdefault(side, []).append(found["seconds"])
                    weights.setdefault(threads, set()).add(found["weights"])

    def slower(threads: int, others: int) -> float:
        kind = f"{threads} threads, {others} other processes"
        return ratio(f"{SLEEPING}, {kind}", f"{SPINNING}, {kind}", samples)

    most = numbers[-1]
    return [
        Result(
            name="waiting-threads",
            compares="A training step whose threads sleep while they wait, over one whose threads "
            "spin, with all cores on a quiet machine.",
            value=slower(most, 0),
            unit="x",
            samples=samples,
            at_most=1.05,
            details={
                "beside another process": slower(most, 1),
                "one thread, quiet": slower(1, 0),
                "one thread, beside another process": slower(1, 1),
                "same weights": all(len(found) == 1 for found in weights.values()),
                "cores": joblib.cpu_count(),
            },
        )
    ]


def train(threads: int, seconds: float = SECONDS) -> None:
    """Train for some seconds; print the median time of a step and the sha256 of the weights."""
    import statistics

    import torch

    from benchmarks.fedprox_step import random_images
    from data_partition.image_store import store_side
    from models.backbones import build_backbone
    from training import optimizers
    from training.config import parse
    from training.epoch import train_epoch
    from training.network import preprocessing, sent_part
    from training.study import resolve
    from training.weights import weights_sha256

    torch.set_num_threads(threads)
    values = {"backbone": "resnet18", "pretrained": False, "image-size": 64, "batch-size": 32}
    config = resolve(parse(values), dataset="ham10000", device="cpu", threads_per_client=threads)
    model = build_backbone("resnet18", 7, pretrained=False, image_size=64, seed=0)
    optimizer = optimizers.build_optimizer(config.to_flat(), model.parameters())
    images = random_images(32, store_side(64))
    taken: list[float] = []
    sha256 = ""
    while len(taken) <= STEPS or sum(taken) < seconds:
        started = time.perf_counter()
        train_epoch(
            model,
            images,
            optimizer,
            batch_size=32,
            preprocessing=preprocessing(config),
            generator=torch.Generator().manual_seed(len(taken)),
        )
        taken.append(time.perf_counter() - started)
        if len(taken) == STEPS:
            sha256 = weights_sha256(sent_part(model))
    print(json.dumps({"seconds": statistics.median(taken[1:]), "weights": sha256}))


def _in_a_process(threads: int, way: str) -> dict:
    code = f"from benchmarks.waiting_threads import train; train({threads})"
    environment = {k: v for k, v in os.environ.items() if k not in SLEEPING_THREADS}
    if way == SLEEPING:
        environment |= SLEEPING_THREADS
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    found: dict = json.loads(answer.stdout.splitlines()[-1])
    return found


@contextmanager
def _counting(number: int) -> Iterator[None]:
    """Keep this many processes busy within the ``with`` block."""
    code = "while True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
