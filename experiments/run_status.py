"""The status in the manifest of a run that a command does itself, in its own process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from operation.errors import InputError
from training.run_folder import RunFolder, now
from training.run_state import INTERRUPTED, RunState


@contextmanager
def recorded(folder: RunFolder, **entries: Any) -> Iterator[None]:
    """Record the status in the manifest: running, then completed, or failed with the cause."""
    folder.update_manifest(status=RunState.RUNNING, cause=None, **entries)
    try:
        yield
    except InputError as error:
        folder.fail(str(error))
        raise
    except Exception as error:
        folder.fail(f"{type(error).__name__}: {error}")
        raise
    except KeyboardInterrupt:
        folder.fail(INTERRUPTED)
        raise
    folder.update_manifest(status=RunState.COMPLETED, finished=now())
