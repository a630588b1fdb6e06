"""The memory of this machine, or of the container that this process is in."""

from pathlib import Path
from typing import NamedTuple

import psutil

_GROUP = Path("/sys/fs/cgroup")


class MachineMemory(NamedTuple):
    """Bytes, in all and free."""

    total: int
    free: int


def machine_memory() -> MachineMemory:
    """Return the memory, within a container's limit (cgroup v2).

    Pages of files that the system would let go count as free.
    """
    machine = psutil.virtual_memory()
    try:
        limit = int(_read("memory.max"))
        lines = (line.split() for line in _read("memory.stat").splitlines())
        pages = {name: int(number) for name, number in lines}
        used = int(_read("memory.current")) - pages["active_file"] - pages["inactive_file"]
    except (OSError, ValueError, KeyError):  # no such group here, or "max": no limit
        return MachineMemory(machine.total, machine.available)
    free = min(machine.available, limit - used)
    return MachineMemory(min(machine.total, limit), max(0, free))


def _read(name: str) -> str:
    return (_GROUP / name).read_text(encoding="ascii")
