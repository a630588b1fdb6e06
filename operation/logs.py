"""Logs that never fill a disk."""

import logging
import logging.handlers
import os
import shutil
import sys
from pathlib import Path

# A larger log is rotated.
LOG_BYTES = 10_000_000


def log_file(path: Path, *, older: int = 1) -> logging.Handler:
    """Return a handler that appends to a file and keeps ``older`` rotated files."""
    return _LogFile(path, maxBytes=LOG_BYTES, backupCount=older, encoding="utf-8")


class _LogFile(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore errors of a full disk; any other error is a bug and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def shorten_log(path: Path) -> None:
    """Empty a log that is too large, after copying it to ``NAME.1``.

    For logs that a running program has open for appending: it continues in the same file. Anything
    that it writes between the copy and the emptying may be lost.
    """
    if path.exists() and path.stat().st_size > LOG_BYTES:
        try:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        finally:  # if the copy does not fit, emptying the log is even more important
            os.truncate(path, 0)
