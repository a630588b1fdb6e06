"""Tells a run that goes on from one that was killed and could write nothing of it."""

import time
from collections.abc import Mapping
from typing import Any

from training.run_folder import RunFolder
from training.run_state import RunState

# A run that begins says "running" before its process locks the folder.
_SECONDS_TO_LOCK = 120


def state_of(run: RunFolder, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of a run, and the cause or an empty text.

    A run is lost if its manifest says ``running`` and no process holds it. Over sites it waits for
    its coordinator, which judges it.

    Args:
        run: the run.
        manifest: its manifest; without a status the run has not begun.
    """
    state, cause = str(manifest.get("status", "not begun")), str(manifest.get("cause") or "")
    if state == RunState.RUNNING and manifest.get("command") != "run" and _is_left(run):
        return RunState.LOST.value, "its process is gone; continue it with --resume"
    return state, cause


def _is_left(run: RunFolder) -> bool:
    """Return whether no process holds a run that had the time to begin."""
    if time.time() - (run.path / "manifest.json").stat().st_mtime < _SECONDS_TO_LOCK:
        return False
    try:
        return not run.is_held()
    except OSError:  # a disk that cannot be written to, so nobody runs there
        return True
