"""A round of a simulation on kept features: what is left when nobody computes the trunk.

``fedskin simulate`` with ``trainable = adapter``, convnext_t from random weights, 64 pixels and
three clients with 96 training and 32 validation images each. The trunk runs once over every image,
before the first round; a later round validates and trains a network of 78,000 weights on features.
So nearly all of it is the messages' way, and the target is in seconds.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.result import Result
from benchmarks.start_up import run_command
from data_partition.synthetic_ham10000 import write_ham10000
from training.config import ExperimentConfig
from training.run_folder import RunFolder

SIDE = "round on kept features"


def measure(repeats: int = 20, *, images: int = 480, backbone: str = "convnext_t") -> list[Result]:
    """Run a simulation.

    Args:
        repeats: number of counted rounds; two more come before them.
        images: of the synthetic data set; each client has a third, and trains on 60 % of it.
        backbone: as in a config.
    """
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        folder = Path(name)
        write_ham10000(folder / "data", images)
        config = ExperimentConfig().replace(
            data_dir=str(folder / "data"),
            cache_dir=str(folder / "cache"),
            backbone=backbone,
            pretrained=False,
            trainable="adapter",
            image_size=64,
            batch_size=16,
            rounds=repeats + 2,
            device="cpu",
        )
        (folder / "bench.toml").write_text(config.to_toml(), encoding="utf-8")
        run = RunFolder(folder / "run")
        run_command(folder / "bench.toml", run, folder)
        seconds = [record["seconds"] for record in run.rounds()][2:]
    samples = {SIDE: [one["round"] for one in seconds]}
    return [
        Result(
            name="kept-features-round",
            compares="Seconds of a round of a real simulation of three clients, the adapter on "
            "kept features.",
            value=statistics.median(samples[SIDE]),
            unit="s",
            samples=samples,
            at_most=0.3,
            details={
                "backbone": backbone,
                "medians": {
                    phase: statistics.median(one[phase] for one in seconds)
                    for phase in ("clients", "transport", "aggregation", "checkpoint")
                },
            },
        )
    ]
