"""The peak memory of a process, or of one call on top of what was in use before."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")
RESET = PROC / "self" / "clear_refs"


def give_back_freed() -> None:
    """Have the allocator return freed memory to the system, on Linux."""
    gc.collect()
    if RESET.exists():
        ctypes.CDLL(None).malloc_trim(0)


def peak_extra_bytes(call: Callable[[], object]) -> int | None:
    """Call once; return the peak of resident memory minus the resident memory before the call.

    Linux records the peak itself, so no polling is needed. Memory that the allocator keeps for
    reuse is returned first; otherwise the call could use it unnoticed.

    Returns:
        Bytes, or None where there is no Linux to ask.
    """
    if not RESET.exists():
        return None
    give_back_freed()
    RESET.write_text("5")  # resets the peak
    before = _status("VmRSS")
    returned = call()
    peak = _status("VmHWM")
    del returned
    return peak - before


def peak_bytes(pid: int | None = None) -> int | None:
    """Return the peak resident memory of a process, mapped files included.

    Args:
        pid: of another process; by default of this one.

    Returns:
        Bytes, or None where there is no Linux to ask.

    Raises:
        OSError: the process has ended.
    """
    return _status("VmHWM", pid) if RESET.exists() else None


def _status(field: str, pid: int | None = None) -> int:
    path = PROC / str(pid or "self") / "status"
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{path} has no {field}")
