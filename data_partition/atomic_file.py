"""A file that is there whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` to write to, renamed to ``path`` at the end.

    Missing parent folders are made. If the body raises, ``path`` is left as it was and the
    temporary file is removed; an error of a full disk names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut may keep the new name and lose the bytes
        temporary.replace(path)
    except OSError as error:
        if error.errno in _FULL and error.filename is None:  # a write knows no name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
