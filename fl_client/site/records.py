"""Records of received, sent and refused messages: records.jsonl, one line each."""

import json
import os
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from operation.files import parse_json

DAY_SECONDS = 86400.0
_KEYS = {"time", "event", "type"}


class Records:
    """Appends to a site's records and counts the rounds of the last 24 hours.

    Args:
        path: records.jsonl. No line is ever removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Counted by a monotonic clock; the age of older lines is taken from their time.
        ages = (time.time() - _moment(line) for line in last_records(path) if _is_round(line))
        now = time.monotonic()
        self._rounds = deque(now - max(age, 0.0) for age in ages if age < DAY_SECONDS)

    def append(self, event: str, **facts: Any) -> None:
        """Write one line and force it to disk.

        Args:
            event: ``in``, ``out``, ``error`` or ``refused``.
            facts: ``run`` (Flower's id), ``round``, ``type`` of the message, its ``records``, and
                ``reason``.

        Raises:
            OSError: it cannot be written; then no message may pass.
        """
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": stamp, "event": event, **facts}
        with self._path.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")  # a full disk or a power cut left half a line
            file.write(json.dumps(line).encode() + b"\n")  # ASCII: nothing affects a terminal
            file.flush()
            os.fsync(file.fileno())
        if _is_round(line):
            self._rounds.append(time.monotonic())

    def rounds_today(self) -> int:
        """Return the number of training messages in the last 24 hours."""
        since = time.monotonic() - DAY_SECONDS
        while self._rounds and self._rounds[0] < since:
            self._rounds.popleft()
        return len(self._rounds)


def last_records(path: Path, number: int | None = None) -> list[dict[str, Any]]:
    """Return the last records, oldest first; all with ``number`` None.

    An incomplete line after a power cut, and any other that is no record, is skipped.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = deque(file, maxlen=number)
    found = []
    for line in lines:
        try:
            record = parse_json(line)
            if isinstance(record, dict) and record.keys() >= _KEYS and _moment(record):
                found.append(record)
        except (TypeError, ValueError):
            continue
    return found


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read() == b"\n"


def _is_round(line: dict[str, Any]) -> bool:
    return line["event"] == "in" and line["type"] == "train"


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()
