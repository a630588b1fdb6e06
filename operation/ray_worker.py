"""A worker of the Ray that `operation.ray_head` runs, as a fork of the fork server.

Ray calls this file as a script with the command of its own worker, which then runs in the fork.
"""

import os
import runpy
import sys
from pathlib import Path

# The variable with the file to which a simulation's processes write.
LOG = "FEDSKIN_RUN_LOG"


def main() -> None:
    """Be a worker, in the fork; the arguments are Ray's."""
    import threadpoolctl  # type: ignore[import-untyped]

    # As for a worker that has started with this environment: the fork server's libraries have read
    # theirs.
    if threads := os.environ.get("OMP_NUM_THREADS"):
        threadpoolctl.threadpool_limits(int(threads))
    # What a client prints belongs into the run's log, not into a file of Ray.
    os.environ.update(RAY_LOG_TO_STDERR="1", RAY_BACKEND_LOG_LEVEL="error")
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from operation.fork_server import FORK_SERVER, fork

    fork(
        Path(os.environ[FORK_SERVER]),
        "operation.ray_worker:main",
        # Of the environment that a job may ask for there is nothing to set up.
        [word for word in sys.argv[1:] if not word.startswith(("--serialized-", "--language"))],
        environment=os.environ,
        folder=Path.cwd(),
        output=Path(os.environ[LOG]),
    )
