"""Logs that never fill a disk."""

import logging
import logging.handlers
import os
import shutil
import sys
from pathlib import Path

# When a log is larger, a new one is begun.
LOG_BYTES = 10_000_000


def log_file(path: Path, *, older: int = 1) -> logging.Handler:
    """Return what logs to the end of a file, with so many older files beside it."""
    return _LogFile(path, maxBytes=LOG_BYTES, backupCount=older, encoding="utf-8")


class _LogFile(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over what a full disk does not take; all else is a fault of the program."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def shorten_log(path: Path) -> None:
    """Begin a log anew that is too large, and keep what it holds in ``NAME.1``.

    For logs that a running program has open, at the end: it goes on in the same file, which
    therefore is copied and emptied. What is written in between may be lost.
    """
    if path.exists() and path.stat().st_size > LOG_BYTES:
        try:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        finally:  # where the copy does not fit, the log must end all the more
            os.truncate(path, 0)
