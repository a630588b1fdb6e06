"""Compressed updates: bytes saved, time needed, and the effect on the result.

Sizes and times are those of convnext_t, as a whole, and sizes also of its trained parts: random
weights with their names and shapes, and trained weights that differ slightly. They are packed into
the bytes that a client sends and unpacked into the bytes that a strategy reads, on one thread. A
client also writes int8's residual to the disk, which is not included. The bytes are those of
Flower's records.

The figures are from real simulations, as ``fedskin simulate`` runs them: three clients, resnet18
from random weights, synthetic slices of BraTS2019, each format with each of the seeds. A figure is
AVG on the global test set as the run reports it, of the model with the best validation: with any
format, the last model can be twenty points worse after one bad step. The result is the difference
of the means over the seeds. The smallest difference in a weight changes the course of training as
much as another seed does, which says nothing about the format. So we use a data set that the
network learns almost completely in these rounds: HAM10000's rare classes would hide a difference of
one point in noise.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from benchmarks.result import Result
from benchmarks.timing import interleaved
from data_partition.synthetic_brats2019 import write_brats2019
from fl_server.federated_config import prepare_simulated
from fl_server.simulation import simulate
from fl_server.simulation_superlink import SuperLink
from models.backbones import build_on_meta
from models.sizes import part_size
from strategies.arrays import num_bytes
from strategies.layout import Layout
from strategies.wire_format import FORMATS, pack_record, unpack_record
from training.config import ExperimentConfig
from training.run_folder import RunFolder

Weights = dict[str, NDArray]

AT_MOST = {"bfloat16": 0.51, "int8": 0.27}
# Its adapter must be at most a hundredth of the whole.
LARGE = ("convnext_l", "vit_l_16")


def measure(
    repeats: int = 3,
    *,
    backbone: str = "convnext_t",
    patients: int = 144,
    rounds: int = 8,
    image_size: int = 64,
    batch_size: int = 16,
    learning_rate: float = 0.02,
) -> list[Result]:
    """Measure packing, unpacking and training.

    Args:
        repeats: how often each format is packed and unpacked, and its number of training seeds.
        backbone: its weights are packed.
        patients: number of patients of the synthetic data set.
        rounds, image_size, batch_size, learning_rate: for the simulations, as in a config.
    """
    settings = {
        "rounds": rounds,
        "image_size": image_size,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    return [
        *(_part_bytes(name) for name in LARGE),
        *(result for part in ("lora", "adapter") for result in _bytes(backbone, part)),
        *_bytes(backbone, "all"),
        *_times(backbone, repeats),
        *_accuracy(patients, repeats, **settings),
    ]


def _part_bytes(backbone: str) -> Result:
    sizes = {part: part_size(backbone, 7, part).num_bytes for part in ("all", "adapter")}
    return Result(
        name=f"adapter-bytes-{backbone}",
        compares=f"Bytes of {backbone}'s adapter and head over those of all its weights.",
        value=sizes["adapter"] / sizes["all"],
        unit="x",
        samples={name: [float(size)] for name, size in sizes.items()},
        samples_unit="bytes",
        at_most=0.01,
    )


def _bytes(backbone: str, trainable: str) -> Iterator[Result]:
    trained, received = _weights(backbone, trainable)
    sizes = {"float32": num_bytes(Layout.of(received).flatten(received))}
    for form, at_most in AT_MOST.items():
        sizes[form] = num_bytes(pack_record(trained, received, {}, form))
        whole = trainable == "all"
        yield Result(
            name=f"wire-bytes-{form}" + ("" if whole else f"-{trainable}"),
            compares=f"Bytes of an update of {backbone}{'' if whole else f' ({trainable})'} as "
            f"{form} over those of its weights as float32.",
            value=sizes[form] / sizes["float32"],
            unit="x",
            samples={name: [float(size)] for name, size in sizes.items()},
            samples_unit="bytes",
            at_most=at_most,
        )


def _times(backbone: str, repeats: int) -> Iterator[Result]:
    trained, received = _weights(backbone, "all")
    residual: Weights = {}
    layout = Layout.of(received)
    sent = layout.flatten(received)
    sides: dict[str, Callable[[], ArrayRecord]] = {"pack float32": partial(layout.flatten, trained)}
    for form in AT_MOST:
        sides[f"pack {form}"] = partial(pack_record, trained, received, residual, form)
        packed = sides[f"pack {form}"]()
        sides[f"unpack {form}"] = partial(unpack_record, packed, sent, layout, form)
    seconds = interleaved(sides, repeats)
    for form in AT_MOST:
        both = [f"pack {form}", f"unpack {form}"]
        yield Result(
            name=f"wire-seconds-{form}",
            compares=f"Seconds to pack and unpack an update of {backbone} as {form}, on one "
            "thread; beside it serialising whole weights.",
            value=sum(statistics.median(seconds[name]) for name in both),
            unit="s",
            samples={name: seconds[name] for name in ["pack float32", *both]},
            details={"megabytes of the weights": num_bytes(sent) / 1e6},
        )


def _weights(backbone: str, trainable: str) -> tuple[Weights, Weights]:
    """Return trained weights of the part that is sent, and the random ones they started from."""
    rng = np.random.default_rng(0)
    received: Weights = {}
    trained: Weights = {}
    for name, tensor in build_on_meta(backbone, 7, trainable=trainable).sent_part().items():
        received[name] = rng.normal(size=tuple(tensor.shape)).astype(np.float32)
        change = rng.normal(size=tuple(tensor.shape)).astype(np.float32)
        trained[name] = received[name] + np.float32(0.01) * change
    return trained, received


def _accuracy(patients: int, seeds: int, **settings: float) -> Iterator[Result]:
    averages: dict[str, list[float]] = {form: [] for form in FORMATS}
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        here = Path(name)
        write_brats2019(here / "data", patients)
        with SuperLink(here / "flower.log") as superlink:
            for seed in range(seeds):
                for form in FORMATS:
                    folder = RunFolder(here / f"{form}-{seed}")
                    wanted = ExperimentConfig().replace(
                        data_dir=str(here / "data"),
                        cache_dir=str(here / "cache"),
                        run_dir=str(folder.path),
                        backbone="resnet18",
                        pretrained=False,
                        seed=seed,
                        wire_format=form,
                        device="cpu",
                        **settings,
                    )
                    config, resources = prepare_simulated(wanted)
                    folder.create(config)
                    simulate(config, folder, superlink, resources)
                    averages[form].append(folder.metrics()["global_test"]["avg"])
    for form in AT_MOST:
        yield Result(
            name=f"wire-avg-{form}",
            compares=f"Points of AVG that federated training with {form} ends below that with "
            "float32, means over the seeds.",
            value=statistics.mean(averages["float32"]) - statistics.mean(averages[form]),
            unit="points",
            samples={"float32": averages["float32"], form: averages[form]},
            samples_unit="percent",
            at_most=1.0,
            details={"patients": patients, **settings},
        )
