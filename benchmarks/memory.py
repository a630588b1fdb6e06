"""The most memory that a process holds, or that a call takes beyond what is held before it."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")
RESET = PROC / "self" / "clear_refs"


def give_back_freed() -> None:
    """Have the allocator give freed memory back to the system, where there is a Linux."""
    gc.collect()
    if RESET.exists():
        ctypes.CDLL(None).malloc_trim(0)


def peak_extra_bytes(call: Callable[[], object]) -> int | None:
    """Call once, and return the peak of resident memory over the resident memory before.

    Linux counts the peak itself, so nothing has to look while the call runs. Memory that the
    allocator holds for reuse is given back first: else the call could use it unseen.

    Returns:
        Bytes, or None where there is no Linux to ask.
    """
    if not RESET.exists():
        return None
    give_back_freed()
    RESET.write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    returned = call()
    peak = _status("VmHWM")
    del returned
    return peak - before


def peak_bytes(pid: int | None = None) -> int | None:
    """Return the most resident memory that a process ever held, mapped files included.

    Args:
        pid: of another process than this one.

    Returns:
        Bytes, or None where there is no Linux to ask.

    Raises:
        OSError: the process is gone.
    """
    return _status("VmHWM", pid) if RESET.exists() else None


def _status(field: str, pid: int | None = None) -> int:
    path = PROC / str(pid or "self") / "status"
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{path} has no {field}")
