"""The cost of sending a large model: ``fedskin run`` over bare Flower, convnext_l and one site.

convnext_l is 785 MB in float32. The client trains on a single batch of 64 pixels and evaluates
another, so a round is nearly all transport: starting Flower's processes, importing torch,
serialising, sending, checking, averaging. From our rounds we subtract the time of training and
validating. From bare Flower's we subtract all the time in the app's functions, which includes
building the network, so the comparison favours bare Flower. Otherwise it is the same as
`benchmarks.deployed_round`. Bare Flower sends the model to the client twice a round, for training
and for evaluating. Ours also runs once with each of `WAYS`, which send less.

Memory is the peak resident memory of any process of a kind over the whole run, start and end
included, mapped files included, as Linux counts it (VmHWM).
"""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from benchmarks.deployed_round import (
    BARE,
    OURS,
    PROCESSES,
    Side,
    Work,
    over_bare_flower,
    over_sites,
)
from benchmarks.result import Result, ratio


class Way(NamedTuple):
    """A way to send less.

    Attributes:
        settings: config keys of the run.
        at_most: target, as a share of bare Flower's transport time.
    """

    settings: Mapping[str, str]
    at_most: float


WAYS = {
    "bfloat16": Way({"wire-format": "bfloat16"}, 0.3),
    "adapter": Way({"trainable": "adapter"}, 0.05),
}
# The target is half of bare Flower's memory for the ServerApp, which holds whole models only.
_MEMORY_AT_MOST = {**dict.fromkeys(PROCESSES, 0.8), "ServerApp": 0.5}


def measure(
    repeats: int = 3, *, backbone: str = "convnext_l", image_size: int = 64
) -> list[Result]:
    """Run the same task over one site, with the whole model and with each of `WAYS`, and over bare
    Flower.

    Args:
        repeats: number of counted rounds of each.
        backbone, image_size: as in a config.
    """
    work = Work(
        sites=1,
        images=14,
        backbone=backbone,
        image_size=image_size,
        batch_size=8,
        rounds=repeats + 1,
    )
    sides = {OURS: over_sites(work)}
    sides |= {name: over_sites(replace(work, settings=way.settings)) for name, way in WAYS.items()}
    sides[BARE] = over_bare_flower(work, sides[OURS].sizes)
    return results(sides, work)


def results(sides: Mapping[str, Side], work: Work) -> list[Result]:
    """Return the results: transport time of a round for each way, and memory of each kind of
    process.

    Args:
        sides: measurements of `OURS`, of each of `WAYS`, and of `BARE`.
        work: their task.
    """
    wanted = {OURS: 0.5, **{name: way.at_most for name, way in WAYS.items()}}
    return [
        *(_transport(name, sides, work, at_most) for name, at_most in wanted.items()),
        *(_memory(kind, sides) for kind in PROCESSES),
    ]


def _transport(name: str, sides: Mapping[str, Side], work: Work, at_most: float) -> Result:
    both = {side: sides[side].rounds for side in (name, BARE)}
    seconds = {
        side: [one.seconds - one.computing for one in rounds] for side, rounds in both.items()
    }
    whole = {
        f"seconds of a whole round, {side}": statistics.median(one.seconds for one in rounds)
        for side, rounds in both.items()
    }
    return Result(
        name="deployed-transport" if name == OURS else f"deployed-transport-{name}",
        compares="A round over one real site on the same machine, less the client's computing, "
        "over that of Flower's own deployment.",
        value=ratio(name, BARE, seconds),
        unit="x",
        samples=seconds,
        at_most=at_most,
        details={"backbone": work.backbone, **whole},
    )


def _memory(kind: str, sides: Mapping[str, Side]) -> Result:
    megabytes = {name: [sides[name].peaks[kind] / 1e6] for name in (OURS, BARE)}
    return Result(
        name=f"deployed-memory-{kind.lower()}",
        compares=f"The most resident memory of the {kind} over that of Flower's own deployment.",
        value=ratio(OURS, BARE, megabytes),
        unit="x",
        samples=megabytes,
        samples_unit="MB",
        at_most=_MEMORY_AT_MOST[kind],
    )
