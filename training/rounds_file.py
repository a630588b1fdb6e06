"""``rounds.jsonl``: a line for each round whose model has been validated, added one by one."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from operation.files import append_bytes, write_bytes
from training.errors import RunFolderError
from training.whole_files import COPY, parse_object


class RoundsFile:
    """The file of one run, which one process writes while others read it.

    A line has what is said of every client. So lines are only ever added: what a round costs
    depends neither on the number of rounds before it nor on what their clients said.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done: int | None = None  # the last round with a line; None: not known

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add the lines of validated rounds that have none, and force them to disk.

        The first call of a process cuts off what a killed one left behind: the line of a round that
        its checkpoint does not know as validated, or a part of one.

        Args:
            records: of all finished rounds; the last two are whole.

        Raises:
            RunFolderError: the lines of earlier rounds are missing.
        """
        if not records:
            return
        # Not known either, if this call does not come to its end.
        done, self._done = self._done, None
        if done is None:
            done = self._cut(records[-1]["round"] - 1)
        new = [one for one in records[-2:] if "validation" in one and one["round"] > done]
        if new:
            lines = [json.dumps(record, allow_nan=False) + "\n" for record in new]
            append_bytes(self.path, "".join(lines).encode())
            done = new[-1]["round"]
        self._done = done

    def _cut(self, keep: int) -> int:
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []
        kept = lines[:keep]
        if len(kept) < keep or not all(line.endswith(b"\n") for line in kept):
            raise RunFolderError(f"{self.path}: lacks rounds before round {keep + 1}; {COPY}")
        if len(kept) < len(lines):
            write_bytes(self.path, b"".join(kept))
        return keep

    def count(self) -> int:
        """Return the number of finished lines."""
        if not self.path.is_file():
            return 0
        with self.path.open("rb") as file:
            return sum(line.endswith(b"\n") for line in file)

    def read(self, *, growing: bool) -> Iterator[dict[str, Any]]:
        """Yield one record after the other; none if there is no file.

        Args:
            growing: whether a process may be adding lines, or may have been killed while it did:
                then the last line may be unfinished, and is left out.

        Raises:
            RunFolderError: a line is not a JSON object.
        """
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if growing and not line.endswith(b"\n"):
                    return
                yield parse_object(self.path, line, number)


class NewLines:
    """Reads the lines that were added to a ``rounds.jsonl`` since the last look.

    If a resumed run has cut the file, all are new again: a reader looks at their rounds.

    Args:
        path: of the file, which may be missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._place = 0, 0  # the inode, and the bytes that were read

    def read(self) -> list[bytes]:
        """Return the finished new lines."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            if (inode := os.fstat(file.fileno()).st_ino) != self._file:
                self._file, self._place = inode, 0
            file.seek(self._place)
            lines = [line for line in file if line.endswith(b"\n")]
        self._place += sum(map(len, lines))
        return lines
