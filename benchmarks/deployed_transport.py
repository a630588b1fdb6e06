"""What sending a large model costs: ``fedskin run`` over bare Flower, convnext_l and one site.

convnext_l is 785 MB in float32. The client trains on a single batch of 64 pixels and judges
another, so that a round is nearly all sending: starting Flower's processes, importing torch,
serialising, sending, checking, averaging. Of our rounds the seconds of training and validating are
taken away. Of bare Flower's it is all that the app's functions take, building the network too, so
that what is left is compared to our disadvantage. For the rest as `benchmarks.deployed_round`; bare
Flower sends the model to the client twice a round, for training and for evaluating. Ours runs once
more with each of `WAYS` that send less.

Memory is the most that any process of a kind ever held resident, over the whole run with its start
and end, mapped files included, as Linux counts it (VmHWM).
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
        settings: of the run.
        at_most: of bare Flower's transport.
    """

    settings: Mapping[str, str]
    at_most: float


WAYS = {
    "bfloat16": Way({"wire-format": "bfloat16"}, 0.3),
    "adapter": Way({"trainable": "adapter"}, 0.05),
}
# Half of bare Flower's is wanted of the ServerApp, which holds whole models only.
_MEMORY_AT_MOST = {**dict.fromkeys(PROCESSES, 0.8), "ServerApp": 0.5}


def measure(
    repeats: int = 3, *, backbone: str = "convnext_l", image_size: int = 64
) -> list[Result]:
    """Run the same work over one site, whole and in other ways, and over bare Flower.

    Args:
        repeats: rounds that count, of each.
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
    """Return the figures: of a round's transport in each way, and of each kind of process.

    Args:
        sides: of `OURS`, of each of `WAYS`, and of `BARE`.
        work: what they did.
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
