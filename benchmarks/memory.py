"""The most memory that a call takes beyond what its process holds before it."""

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


def _status(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {field}")
