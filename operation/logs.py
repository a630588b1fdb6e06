"""Logs that never fill a disk."""

import logging
import logging.handlers
import os
import shutil
from pathlib import Path

# When a log is larger, a new one is begun.
LOG_BYTES = 10_000_000


def log_file(path: Path, *, older: int = 1) -> logging.Handler:
    """Return what logs to the end of a file, with so many older files beside it."""
    return logging.handlers.RotatingFileHandler(
        path, maxBytes=LOG_BYTES, backupCount=older, encoding="utf-8"
    )


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
