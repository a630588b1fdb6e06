"""The runs of all frameworks as results with one figure each, and as one table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks.federated_round import LOSS_TOLERANCE
from benchmarks.peers.frameworks import PLAIN
from benchmarks.peers.measuring import Run
from benchmarks.result import Result

FEDSKIN = "fedskin"


def loss_difference(run: Run, plain: Run) -> float:
    """Return the largest relative difference of a round's loss from the plain loop's.

    Raises:
        RuntimeError: it is so large that the two did different work.
    """
    worst = max(abs(own / of - 1) for own, of in zip(run.losses, plain.losses, strict=True))
    if not worst <= LOSS_TOLERANCE:
        raise RuntimeError(f"its losses differ from the plain loop's by {100 * worst:.1f} %")
    return worst


def results(
    runs: Mapping[str, Sequence[Run]], failed: Mapping[str, str], details: Mapping[str, Any]
) -> list[Result]:
    """Return three results; each figure is fedskin's over the best of the other frameworks'.

    Args:
        runs: of each framework that ran; fedskin, the plain loop and another one are among them.
        failed: why the others did not run.
        details: further details of the first result.
    """
    first = runs[PLAIN][0]
    differences = {
        name: max(loss_difference(run, first) for run in of) for name, of in runs.items()
    }
    of_all = {
        "largest relative difference of a round's loss from the plain loop's": differences,
        "not measured": {name: " ".join(why.split()) for name, why in failed.items()} or "none",
        **details,
    }
    shared = "Three clients, same weights and batches; fedskin over the best other framework"
    return [
        _result(
            "peers-round",
            f"A steady round. {shared} (the plain loop is none).",
            {name: [second for run in of for second in run.rounds] for name, of in runs.items()},
            "s",
            of_all,
        ),
        _result(
            "peers-start-up",
            f"Seconds from the command to the first training step of any client. {shared}.",
            {name: [run.start_up for run in of] for name, of in runs.items()},
            "s",
            {},
        ),
        _result(
            "peers-memory",
            f"Peak memory of all processes together, shared pages counted once. {shared}.",
            {name: [run.peak_bytes / 1e6 for run in of] for name, of in runs.items()},
            "MB",
            {},
        ),
    ]


def table(found: Sequence[Result], failed: Mapping[str, str]) -> Table:
    """Return one row for each framework with the medians of all results."""
    shown = Table("", "s a round", "s to the first step", "peak MB")
    for name in found[0].medians:
        shown.add_row(
            name,
            *(f"{result.medians[name]:.3g}" for result in found[:2]),
            f"{found[2].medians[name]:.0f}",
        )
    for name, why in failed.items():
        shown.add_row(name, "not measured", why.splitlines()[0][:60])
    return shown


def _result(
    name: str,
    compares: str,
    samples: Mapping[str, Sequence[float]],
    unit: str,
    details: Mapping[str, Any],
) -> Result:
    medians = {side: statistics.median(numbers) for side, numbers in samples.items()}
    best = min(value for side, value in medians.items() if side not in (FEDSKIN, PLAIN))
    return Result(
        name=name,
        compares=compares,
        value=medians[FEDSKIN] / best,
        unit="x",
        samples=samples,
        samples_unit=unit,
        details=details,
    )
