"""Time and memory to aggregate three convnext_l replies into one model.

Both sides are ``FedAvg.aggregate_train``, Flower's and ours, on the same three messages, as a run
sends them: 785 MB of random float32 values each, the arrays of convnext_l's state dict concatenated
into a few long ones. All report the same number of examples, so both compute the plain mean. Both
start from Flower messages as the grid delivers them and end with an ``ArrayRecord``: both times
include reading the bytes, checking the replies, averaging and serialising. Ours also checks for NaN
and infinity and measures the norm and sketch of each update, for which it reads the global weights
as well; Flower's does not. Flower's takes all replies together, ours one after the other, as the
grids of a simulation and of real sites give them. Freeing the result is not timed.

The target is from the time before updates were measured.

The peak is the maximum memory that one call takes on top of the three replies, in units of one
convnext_l model. Each side is measured in a new process.
"""

import gc
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from benchmarks.peak_memory import peak_extra_bytes
from benchmarks.result import Result, ratio
from benchmarks.timing import interleaved
from models.backbones import build_empty
from strategies.arrays import num_bytes, views
from strategies.averaging import Averaging
from strategies.layout import LAYOUT, FlatBlank, Layout

FLOWER, OURS = "flower", "fedskin"
NUM_CLIENTS, NUM_EXAMPLES = 3, 2003
# One model, and room for the pieces in progress.
MOST_MODELS = 1.05


def measure(repeats: int = 7, backbone: str = "convnext_l") -> list[Result]:
    """Time both sides alternately, then measure the memory of each in its own process.

    Args:
        repeats: samples of each side.
        backbone: the replies have the names and shapes of its state dict.
    """
    layout = _layout(backbone)
    records, base = _records(layout)
    with _server_app():
        sides = {FLOWER: _flower(records), OURS: _ours(records, base, layout)}
        difference = _largest_difference(sides[FLOWER](), sides[OURS]())
        samples = interleaved(sides, repeats)
    size = num_bytes(records[0])
    details = {
        "replies": NUM_CLIENTS,
        "backbone": backbone,
        "megabytes": size / 1e6,
        "arrays": len(layout.signature),
        "long arrays": len(records[0]),
        "largest difference of the two means": difference,
    }
    del records, base, sides
    gc.collect()
    results = [
        Result(
            name="aggregation",
            compares="Flower's FedAvg.aggregate_train over fedskin's, on the same three messages.",
            value=ratio(FLOWER, OURS, samples),
            unit="x",
            samples=samples,
            at_least=5.0,
            details=details,
        )
    ]
    peaks = {side: [peak / size] for side in (OURS, FLOWER) if (peak := _weigh(side, backbone))}
    if OURS in peaks:
        results.append(
            Result(
                name="aggregation-memory",
                compares="Peak memory that fedskin's FedAvg.aggregate_train takes on top of the "
                "three replies, in models; Flower's for comparison.",
                value=peaks[OURS][0],
                unit="models",
                samples=peaks,
                samples_unit="models",
                at_most=MOST_MODELS,
                details={"backbone": backbone, "megabytes of one model": size / 1e6},
            )
        )
    return results


def _weigh(side: str, backbone: str) -> int | None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_peak, side, backbone).result()


def _peak(side: str, backbone: str) -> int | None:
    layout = _layout(backbone)
    records, base = _records(layout)
    with _server_app():
        return peak_extra_bytes(
            _flower(records) if side == FLOWER else _ours(records, base, layout)
        )


@contextmanager
def _server_app() -> Iterator[None]:
    """Allow this process to create messages as a ServerApp does, without Flower's usage reports."""
    logger = logging.getLogger("flwr")
    level, identity = logger.level, dict(vars(TaskIdentity))
    logger.setLevel(logging.WARNING)
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in ("_task_id", "_run_id", "_node_id"):
            setattr(TaskIdentity, name, identity[name])


def _layout(backbone: str) -> Layout:
    model = build_empty(backbone, 7, image_size=224)
    return Layout.of({name: tensor.numpy() for name, tensor in model.state_dict().items()})


def _records(layout: Layout) -> tuple[list[ArrayRecord], ArrayRecord]:
    """Return the replies and the global weights: floats in [0, 1), integers 0.

    A reply is the global weights moved by less than 1/128 each, as training moves them: an update
    of a norm over 1,000 would be held against the norm of the global weights as well.
    """
    base = _random_weights(layout, 0, {})
    start = layout.views(base)
    return [_random_weights(layout, seed, start) for seed in range(1, NUM_CLIENTS + 1)], base


def _random_weights(layout: Layout, seed: int, start: Mapping[str, NDArray]) -> ArrayRecord:
    generator = np.random.default_rng(seed)
    blank = FlatBlank(layout)
    for name, values in blank.values.items():
        if np.issubdtype(values.dtype, np.floating):
            drawn = generator.random(values.shape, np.float32)
            if start:
                drawn /= 128
                drawn += start[name]
            np.copyto(values, drawn, casting="same_kind")
    del values
    return blank.finish()


def _flower(records: list[ArrayRecord]) -> Callable[[], ArrayRecord | None]:
    # Flower's strategy does not read the messages that the replies answer.
    strategy = FlowerFedAvg()
    sent = [
        Message(RecordDict(), dst_node_id=node, message_type="train")
        for node in range(1, NUM_CLIENTS + 1)
    ]
    replies = _replies(sent, records)
    return lambda: strategy.aggregate_train(1, list(replies))[0]


def _ours(
    records: list[ArrayRecord], base: ArrayRecord, layout: Layout
) -> Callable[[], ArrayRecord | None]:
    clients = {node: f"client-{node - 1}" for node in range(1, NUM_CLIENTS + 1)}
    strategy = Averaging(clients=clients, constants={LAYOUT: layout.record()})

    def call() -> ArrayRecord | None:
        # Each reply belongs to one message and is removed with it, so both are created again.
        sent = list(strategy.configure_train(1, base, ConfigRecord(), grid=None))  # type: ignore[arg-type]
        return strategy.aggregate_train(1, iter(_replies(sent, records)))[0]

    return call


def _replies(sent: list[Message], records: list[ArrayRecord]) -> list[Message]:
    """Return replies to the messages, as if a grid had sent and received them."""
    answers = []
    for message, record in zip(sent, records, strict=True):
        message.metadata.__dict__["_message_id"] = str(uuid.uuid4())
        metrics = MetricRecord({"num-examples": NUM_EXAMPLES})
        answers.append(
            Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)
        )
    return answers


def _largest_difference(first: ArrayRecord | None, second: ArrayRecord | None) -> float:
    assert first is not None
    assert second is not None
    theirs = views(second)
    return max(float(np.abs(a - theirs[name]).max()) for name, a in views(first).items())
