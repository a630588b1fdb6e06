"""A run in TensorBoard: one file of events in the run folder, to which a resumed run appends.

Each round is one event, so after a kill it is there or not. A record at the end that was cut off is
removed before anything is appended.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.tracking.points import Point
from experiments.tracking.tracker import Tracker, TrackingError
from training.config import Scalar
from training.errors import ConfigError
from training.run_state import RunState

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

# TensorBoard reads every file below its --logdir with `tfevents` in its name.
FOLDER, FILE = "tensorboard", "events.out.tfevents.fedskin"
_STATE = "state"

# A record is its length, the length's checksum, the event, and the event's checksum.
_LENGTH, _CHECKSUM = struct.Struct("<Q"), 4


class EventFile(Tracker):
    """A run folder's file of events; the folder need not exist yet.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, run: Path) -> None:
        try:
            import tensorboard.compat.proto.event_pb2
            import tensorboard.plugins.hparams.summary_v2  # noqa: F401
        except ImportError:
            raise ConfigError(
                "--track tensorboard: TensorBoard is not installed; in the checkout: "
                "pip install -c constraints.txt -e '.[tensorboard]'"
            ) from None
        self._run = run
        self._path = run / FOLDER / FILE
        self._latest: dict[str, tuple[int, float]] = {}  # the step and figure of each tag
        self._state = ""

    def is_completed(self) -> bool:
        """Read the file; return whether it has the end of a completed run."""
        self._take_in(self._events())
        return self._state.startswith(RunState.COMPLETED)

    def begin(self, config: Mapping[str, Scalar], tags: Mapping[str, str], started: int) -> int:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        seconds = started / 1000
        events = self._events(repair=True)
        if not events:
            about = {**config, **tags}
            parameters = hparams_pb(about, trial_id=self._run.name, start_time_secs=seconds)
            # Together: a file that has events is not begun again.
            self._append(
                _event(seconds, file_version="brain.Event:2"), _event(seconds, summary=parameters)
            )
            self._say(RunState.RUNNING, seconds)
        self._take_in(events)
        return self._last_round

    def add_round(self, points: Sequence[Point]) -> None:
        self._say(RunState.RUNNING, points[-1].milliseconds / 1000)
        self._add(points)

    def add_figures(self, points: Sequence[Point]) -> None:
        there = self._latest
        self._add([p for p in points if there.get(_tag(p.name)) != (p.step, _float32(p.value))])

    def _add(self, points: Sequence[Point]) -> None:
        if not points:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary()
        for point in points:
            summary.value.add(tag=_tag(point.name), simple_value=point.value)
        time, step = points[-1].milliseconds / 1000, points[-1].step
        event = _event(time, step=step, summary=summary)
        self._append(event)
        self._take_in([event])

    def end(self, state: RunState, said: str, time: int) -> None:
        if state == RunState.COMPLETED and not self.is_completed():
            self._append(_event(time / 1000, summary=_end_of_session(time / 1000)))
        self._say(state if said in ("", state) else f"{state}: {said}", time / 1000)

    @property
    def _last_round(self) -> int:
        return self._latest.get("seconds", (0, 0.0))[0]

    def _say(self, state: str, time: float) -> None:
        """Add the run's state if it is a new one; TensorBoard shows it as text."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        if state != self._state:
            event = _event(time, step=self._last_round, summary=text_pb(_STATE, state))
            self._append(event)
            self._take_in([event])

    def _take_in(self, events: "Sequence[Event]") -> None:
        for event in events:
            for value in event.summary.value:
                if value.tag == _STATE:
                    self._state = value.tensor.string_val[0].decode()
                else:
                    self._latest[value.tag] = (event.step, value.simple_value)

    def _events(self, *, repair: bool = False) -> "list[Event]":
        """Return the events of the file, in which a cut-off one at the end is removed if asked."""
        try:
            content = self._path.read_bytes()
            events, end = [], 0
            for event, after in _records(content):
                events.append(event)
                end = after
            if repair and end < len(content):
                with self._path.open("r+b") as file:
                    file.truncate(end)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refusal(error) from None
        return events

    def _append(self, *events: "Event") -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        try:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("ab") as file:
                for event in events:
                    RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> TrackingError:
        return TrackingError(
            f"{self._path}: cannot be written ({error.strerror})",
            f"the results are all in {self._run}, and the next --track tensorboard writes what is "
            "missing",
        )


def _records(content: bytes) -> "Iterator[tuple[Event, int]]":
    """Yield each event up to the first that is not whole, and where it ends."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event

    end = 0
    while (begin := end + _LENGTH.size + _CHECKSUM) <= len(content):
        after = begin + _LENGTH.unpack_from(content, end)[0]
        end = after + _CHECKSUM
        if end > len(content):
            return
        try:
            yield Event.FromString(content[begin:after]), end
        except DecodeError:
            return


def _event(time: float, **content: Any) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time, **content)


def _end_of_session(time: float) -> "Summary":
    """Return what the table of parameters takes for the end of a run."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    ended = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time)
    about = metadata.create_summary_metadata(
        plugin_data_pb2.HParamsPluginData(session_end_info=ended)
    )
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR
    )
    return summary


def _tag(name: str) -> str:
    """Return a figure's name in TensorBoard, which groups by what is before the first slash."""
    return name.replace(".", "/", 1)


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])
