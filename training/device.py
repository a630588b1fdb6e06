"""The device that a run computes on."""

import ctypes
import platform
import sys
from pathlib import Path

from training.errors import ConfigError


def resolve_device(wanted: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps``: what ``auto`` finds, or the requested one if present.

    torch is imported only if an accelerator is possible on this machine, because its import takes
    seconds.

    Raises:
        ConfigError: the named device is not on this machine.
    """
    if wanted == "cpu":
        return "cpu"
    found = _accelerator()
    if wanted == "auto":
        return found
    if wanted != found:
        raise ConfigError(
            f"device = {wanted!r}: not found on this machine; it has auto and {found}"
        )
    return found


def processor_name() -> str:
    """Return the CPU's model name, or its architecture if it has none."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerator() -> str:
    if sys.platform == "darwin":
        import torch

        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
