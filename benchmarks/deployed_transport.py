"""What sending a large model costs: ``fedskin run`` over bare Flower, convnext_l and one site.

convnext_l is 785 MB in float32. The client trains on a single batch of 64 pixels and judges
another, so that a round is nearly all sending: starting Flower's processes, importing torch,
serialising, sending, checking, averaging. Of our rounds the seconds of training and validating are
taken away. Of bare Flower's it is all that the app's functions take, building the network too, so
that what is left is compared to our disadvantage. For the rest as `benchmarks.deployed_round`; bare
Flower sends the model to the client twice a round, for training and for evaluating.

Memory is the most that any process of a kind ever held resident, over the whole run with its start
and end, mapped files included, as Linux counts it (VmHWM).
"""

import statistics

from benchmarks.deployed_round import BARE, OURS, PROCESSES, Side, Work, both_sides
from benchmarks.result import Result, ratio


def measure(
    repeats: int = 3, *, backbone: str = "convnext_l", image_size: int = 64
) -> list[Result]:
    """Run the same work over one site, and over bare Flower.

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
    return results(both_sides(work), work)


def results(sides: dict[str, Side], work: Work) -> list[Result]:
    """Return the figures: of a round's transport, and of each kind of process.

    Args:
        sides: of `OURS` and `BARE`.
        work: what they did.
    """
    seconds = {
        name: [one.seconds - one.computing for one in side.rounds] for name, side in sides.items()
    }
    whole = {
        f"seconds of a whole round, {name}": statistics.median(one.seconds for one in side.rounds)
        for name, side in sides.items()
    }
    transport = Result(
        name="deployed-transport",
        compares="A round over one real site on the same machine, less the client's computing, "
        "over that of Flower's own deployment.",
        value=ratio(OURS, BARE, seconds),
        unit="x",
        samples=seconds,
        at_most=0.8,
        details={
            "backbone": work.backbone,
            **whole,
        },
    )
    return [transport, *(_memory(kind, sides) for kind in PROCESSES)]


def _memory(kind: str, sides: dict[str, Side]) -> Result:
    megabytes = {name: [side.peaks[kind] / 1e6] for name, side in sides.items()}
    return Result(
        name=f"deployed-memory-{kind.lower()}",
        compares=f"The most resident memory of the {kind} over that of Flower's own deployment.",
        value=ratio(OURS, BARE, megabytes),
        unit="x",
        samples=megabytes,
        samples_unit="MB",
        at_most=0.8,
    )
