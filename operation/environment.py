"""The environment variables, programs and ports of a run's processes."""

import os
import socket
import sysconfig
from pathlib import Path

from operation.processes import TOKEN

# Environment variables for processes that train. By default glibc returns freed tensors to the
# system and takes new pages for the next ones, which costs an eighth of a step's time on the CPU.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

# Environment variables for every process that trains or judges, set before torch is loaded. By
# default OpenMP's threads wait for one another in a busy loop. As soon as another process needs a
# core, the loop keeps it from the thread that is waited for. docs/performance.md has the figures.
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}

# Environment variables for processes that pass models on, in pieces of 5 MB. All threads share one
# heap, where a new piece reuses the memory of a freed one: new pages cost more than the copying.
# Blocks over 32 MB, glibc's maximum, are returned to the system immediately.
REUSE_FREED_PIECES = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

# Names the file with the folders of a coordinator's machine, for the process of the server.
PLACES_VARIABLE = "FEDSKIN_PLACES"


def private_ray(home: Path, secret: str) -> dict[str, str]:
    """Return the environment variables of a Ray of one run, with its files in ``home``.

    Only who knows the secret may use it: else every user of this machine could run code in it, as
    this user.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secret,
        "RAY_ADDRESS": "local",
        "RAY_TMPDIR": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would give the clients a low priority, but they are the main work.
        "RAY_worker_niceness": "0",
        # As on other systems, where this is its default: no cluster of several machines, and so
        # all its sockets on 127.0.0.1. Otherwise they are on every network, for anybody's code.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def flower_environment(home: Path, token: str) -> dict[str, str]:
    """Return the environment of Flower's processes: this one's, isolated from other Flower runs.

    ``SLEEPING_THREADS`` are in it, unless this process's environment sets them otherwise.

    Args:
        home: FLWR_HOME, where Flower stores its settings and unpacks apps.
        token: marks the processes, so that they can be found and ended (`operation.processes`).
    """
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    return {
        **SLEEPING_THREADS,
        **os.environ,
        TOKEN: token,
        "PATH": path,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        **past_proxies(),
    }


def let_threads_sleep() -> None:
    """Put ``SLEEPING_THREADS`` into this process's environment, except what the user has set.

    It affects libraries that are loaded afterwards, and child processes.
    """
    for name, value in SLEEPING_THREADS.items():
        os.environ.setdefault(name, value)


def past_proxies() -> dict[str, str]:
    """Return the variables that exempt this machine's own servers from a proxy."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = ",".join(filter(None, (named, "127.0.0.1", "localhost")))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def script(name: str) -> str:
    """Return the path of a program that was installed with this package."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a local TCP port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
