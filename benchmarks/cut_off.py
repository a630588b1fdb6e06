"""A hospital loses its network connection in the middle of a round, and comes back."""

import time
from pathlib import Path
from typing import Any

from benchmarks.disturbed_run import DisturbedRun
from benchmarks.hospitals_here import Hospitals
from benchmarks.network_link import ADDRESS, NetworkLink
from fl_client.site.records import last_records
from operation.files import read_json

NEAR, FAR = "hospital-a", "hospital-b"

# The last event at the hospital before it is cut off: a message has arrived and the app is about
# to train, or the reply has passed the guard and is about to be sent.
EVENTS = ("in", "out")


def joined(folder: Path, data: Path, link: NetworkLink) -> Hospitals:
    """Return a coordinator with hospital `NEAR`, and hospital `FAR` at the other end of a link.

    Args:
        folder: for everything; must be empty.
        data: a release of HAM10000; each hospital has half of it.
        link: already set up.
    """
    where = {"coordinator": link.near, NEAR: link.near, FAR: link.far}
    return Hospitals(folder, data, (NEAR, FAR), host=ADDRESS, where=where)


def run_with_both(
    hospitals: Hospitals, link: NetworkLink, out: Path, event: str, *, seconds: float = 0.0
) -> dict[str, Any]:
    """Run three rounds that need both hospitals; one of them is cut off in the second.

    Args:
        hospitals: from `joined`, already serving.
        link: the link between them.
        out: the run folder.
        event: one of `EVENTS`.
        seconds: minimum duration of the cut; it lasts at least until the coordinator reports the
            loss.

    Returns:
        The run's final metrics.

    Raises:
        RuntimeError: the run does not end well.
    """
    with DisturbedRun(hospitals, out, rounds=3, min_replies=2) as run:
        _cut_off(run, hospitals, link, event, seconds)
        link.mend()
        return run.finish()


def run_without_one(
    hospitals: Hospitals, link: NetworkLink, out: Path, event: str, *, seconds: float = 0.0
) -> list[set[str]]:
    """Run rounds that need only one hospital, while the other is cut off and comes back.

    Args:
        hospitals, link, out, event, seconds: see `run_with_both`.

    Returns:
        The participants of each round, up to the first round that has both again.

    Raises:
        RuntimeError: the run ends, or no such round comes in time.
    """
    with DisturbedRun(hospitals, out, rounds=1000, min_replies=1) as run:
        _cut_off(run, hospitals, link, event, seconds)
        run.wait_for("round without it", lambda: {NEAR} in run.took_part())
        link.mend()
        run.wait_for("round with it", lambda: {NEAR, FAR} in run.took_part()[2:])
        run.stop()
        return run.took_part()


def _cut_off(
    run: DisturbedRun, hospitals: Hospitals, link: NetworkLink, event: str, seconds: float
) -> None:
    """Cut the far hospital off in the second round, until the coordinator reports its loss."""
    records = hospitals.folder / FAR / "records.jsonl"
    known = len(last_records(records))  # of earlier runs

    def happened() -> bool:
        return any(
            (line["event"], line["type"], line["round"]) == (event, "train", 2)
            for line in last_records(records)[known:]
        )

    run.wait_for(f"message {event} in round 2", happened)
    link.cut()
    cut = time.monotonic()
    run.wait_for("loss of the hospital", lambda: FAR not in _connected(hospitals))
    time.sleep(max(0.0, cut + seconds - time.monotonic()))


def _connected(hospitals: Hospitals) -> list[str]:
    found = read_json(hospitals.coordinator / "connected.json") or {}
    return list(found["sites"])
