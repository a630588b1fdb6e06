"""What the processes of a run find around them: their environment, their programs, their ports."""

import os
import socket
import sysconfig
from pathlib import Path

from operation.processes import TOKEN

# To be put over the environment of processes that train: glibc would hand freed tensors back to the
# system and take fresh pages for the next ones, which costs a step on the CPU an eighth of its
# time.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

# For processes that pass models on, in pieces of 5 MB. All threads share one heap, where a piece
# takes the place of another that has gone: fresh pages cost more than the copying. What is larger
# than 32 MB, glibc's most, is given back to the system at once.
REUSE_FREED_PIECES = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def flower_environment(home: Path, token: str) -> dict[str, str]:
    """Return the environment of Flower's processes: this one's, with what keeps them to themselves.

    Args:
        home: FLWR_HOME, where Flower keeps its settings and unpacks apps.
        token: by which the processes are found and ended (`operation.processes`).
    """
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    return {
        **os.environ,
        TOKEN: token,
        "PATH": path,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        **past_proxies(),
    }


def past_proxies() -> dict[str, str]:
    """Return the environment's settings by which this machine's own servers are reached directly.

    A hospital's proxy, if the environment names one, is for the way out only.
    """
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = ",".join(filter(None, (named, "127.0.0.1", "localhost")))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def script(name: str) -> str:
    """Return the path of a program that was installed beside this package."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port of an address of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
