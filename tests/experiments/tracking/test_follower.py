"""Following a run while it goes on, with a tracker that is a list."""

import threading
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import pytest

from experiments.console import Console
from experiments.tracking import follower
from experiments.tracking.follower import tracked
from experiments.tracking.points import Point
from experiments.tracking.tracker import Tracker, TrackingError
from tests.generated_campaign import write_campaign
from tests.support import write_rounds
from training.config import Scalar
from training.run_folder import RunFolder
from training.run_state import INTERRUPTED, RunState


class Listing(Tracker):
    """Remembers what it is told; refuses as often as it should."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.begun = 0
        self.rounds: list[int] = []
        self.figures: dict[str, float] = {}
        self.ended: tuple[RunState, str] | None = None
        self.arrived = threading.Event()

    def begin(self, config: Mapping[str, Scalar], tags: Mapping[str, str], started: int) -> int:
        self.begun += 1
        return max(self.rounds, default=0)

    def add_round(self, points: Sequence[Point]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TrackingError("does not accept [it]", "it is here")
        self.rounds.append(points[-1].step)
        self.arrived.set()

    def add_figures(self, points: Sequence[Point]) -> None:
        self.figures = {point.name: point.value for point in points}

    def end(self, state: RunState, said: str, time: int) -> None:
        self.ended = (state, said)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A completed federated run of three rounds, which is looked at often."""
    monkeypatch.setattr(follower, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(follower, "_RETRY_SECONDS", 0.01)
    ids = write_campaign(tmp_path, trials=7, rounds=3, backbones=["swin_t"])
    return RunFolder(tmp_path / "trials" / ids[-1])


def test_rounds_arrive_while_the_run_goes_on(run: RunFolder) -> None:
    records, tracker = run.rounds(), Listing()
    write_rounds(run, [])
    run.update_manifest(status=RunState.RUNNING)
    with tracked(tracker, run, Console(quiet=True)):
        for number in (1, 2, 3):
            tracker.arrived.clear()
            write_rounds(run, records[:number])
            assert tracker.arrived.wait(30)
        assert tracker.rounds == [1, 2, 3]
        assert tracker.ended is None
        run.update_manifest(status=RunState.COMPLETED)
    assert tracker.begun == 1
    assert tracker.rounds == [1, 2, 3]
    assert tracker.ended == (RunState.COMPLETED, "")
    assert tracker.figures["global_test.network.bacc"] == run.metrics()["global_test"]["bacc"]
    assert tracker.figures["total.seconds"] == 3 * 51.0  # as generated


def test_a_tracker_that_refuses_is_named_once_and_asked_again(run: RunFolder) -> None:
    tracker, said = Listing(refusals=3), StringIO()
    run.update_manifest(status=RunState.RUNNING)
    with tracked(tracker, run, Console(file=said, width=300)):
        assert tracker.arrived.wait(30)
    assert tracker.rounds == [1, 2, 3]
    assert said.getvalue().splitlines() == ["does not accept [it]; it is here"]


def test_a_tracker_that_never_accepts_does_not_touch_the_run(run: RunFolder) -> None:
    tracker, said = Listing(refusals=10**9), StringIO()
    with tracked(tracker, run, Console(file=said, width=300)):
        pass
    assert set(said.getvalue().splitlines()) == {"does not accept [it]; it is here"}
    assert tracker.ended is None


@pytest.mark.parametrize(
    "manifest, error, ended",
    [
        ({"status": "failed", "cause": "no disk"}, RuntimeError, (RunState.FAILED, "no disk")),
        ({"status": "failed", "cause": INTERRUPTED}, SystemExit, (RunState.STOPPED, INTERRUPTED)),
        # The ServerApp may not have ended yet.
        ({"status": "running"}, KeyboardInterrupt, (RunState.STOPPED, INTERRUPTED)),
        # It is the coordinator that runs it.
        ({"status": "running", "command": "run"}, KeyboardInterrupt, None),
        ({"status": "completed"}, RuntimeError, (RunState.FAILED, "no head")),
    ],
)
def test_how_a_run_ended(
    run: RunFolder,
    manifest: dict[str, str],
    error: type[BaseException],
    ended: tuple[RunState, str] | None,
) -> None:
    tracker = Listing()
    run.update_manifest(**manifest)
    with pytest.raises(error), tracked(tracker, run, Console(quiet=True)):
        raise error("no head")
    assert tracker.ended == ended
    assert tracker.rounds == [1, 2, 3]


def test_how_a_run_ended_whose_folder_does_not_say_so_yet(run: RunFolder) -> None:
    tracker = Listing()
    run.update_manifest(status=RunState.RUNNING, command="run")
    with tracked(tracker, run, Console(quiet=True)) as ended:
        ended(RunState.STOPPED, "stopped")
    assert tracker.ended == (RunState.STOPPED, "stopped")
    assert tracker.rounds == [1, 2, 3]


def test_a_run_that_never_began_is_not_tracked(tmp_path: Path) -> None:
    tracker = Listing()
    with tracked(tracker, RunFolder(tmp_path / "none"), Console(quiet=True)):
        pass
    assert tracker.begun == 0


def test_without_a_tracker_nothing_happens(tmp_path: Path) -> None:
    before = threading.active_count()
    with tracked(None, RunFolder(tmp_path / "none"), Console(quiet=True)):
        assert threading.active_count() == before
