"""The most memory that a process holds, or that a call takes beyond what is held before it."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_extra_bytes(call: Callable[[], object]) -> int | None:
    """Call once, and return the peak of resident memory over the resident memory before.

    Linux counts the peak itself, so nothing has to look while the call runs. Memory that the
    allocator holds for reuse is given back first: else the call could use it unseen.

    Returns:
        Bytes, or None where there is no Linux to ask.
    """
    if not RESET.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    returned = call()
    peak = _status("VmHWM")
    del returned
    return peak - before


def peak_bytes() -> int | None:
    """Return the most resident memory that this process ever held, mapped files included.

    Returns:
        Bytes, or None where there is no Linux to ask.
    """
    return _status("VmHWM") if STATUS.exists() else None


def _status(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {field}")
