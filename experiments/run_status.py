"""The status in the manifest of a run that a command does itself, in its own process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.command_runner import USER_ERRORS
from training.run_folder import RunFolder, now


@contextmanager
def recorded(folder: RunFolder, **entries: Any) -> Iterator[None]:
    """Record the status in the manifest: running, then completed, or failed with the cause.

    Args:
        folder: the run's.
        entries: further entries for the manifest.
    """
    folder.update_manifest(status="running", cause=None, **entries)
    try:
        yield
    except USER_ERRORS as error:
        folder.update_manifest(status="failed", cause=str(error), finished=now())
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        folder.update_manifest(status="failed", cause=cause, finished=now())
        raise
    except KeyboardInterrupt:
        folder.update_manifest(status="failed", cause="interrupted", finished=now())
        raise
    folder.update_manifest(status="completed", finished=now())
