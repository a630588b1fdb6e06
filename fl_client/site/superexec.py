"""A site's superexec: Flower's own, except that it forks the app's processes from a prepared one.

Flower starts a program for every message, and each spends about five seconds of a core on importing
the same libraries. Here the standard library's fork server has imported them once. It does not know
the app: the fork imports the app from the bundle that came with the message, as usual.
"""

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from operation.flower_internals import (
    ExecutionSpec,
    LaunchResult,
    SubprocessExecutor,
    TaskType,
    disable_process_dumping,
    run_clientapp,
    run_superexec,
)

# Libraries that the app uses and would import again for every message. No package of the app
# itself.
LIBRARIES = (
    run_clientapp.__module__,
    "flwr.clientapp",
    "filelock",
    "joblib",
    "nibabel",
    "pandas",
    "PIL.Image",
    "pydantic",
    "safetensors.numpy",
    "safetensors.torch",
    "timm",
    "tomli_w",
    "torch",
    "torchvision",
)


class ForkingExecutor(SubprocessExecutor):
    """Runs each ClientApp in a fork of a process that has imported `LIBRARIES`."""

    def __init__(self) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(LIBRARIES))

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Fork a process for one message.

        Only Flower's function and plain values are passed to it: to read them it must import
        nothing of this package, whose module names are also the bundle's.
        """
        if spec.task_type != TaskType.CLIENT_APP:
            return super().launch(spec)
        self._context.Process(
            target=run_clientapp,
            kwargs={
                "runtime_api_address": spec.runtime_api_address,
                "token": spec.token,
                "insecure": spec.insecure,
                "parent_pid": spec.parent_pid,
                "runtime_dependency_install": spec.runtime_dependency_install,
            },
        ).start()
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Remove processes that have ended."""
        self._context.active_children()

    def close(self) -> None:
        """End the running processes: Python would wait for them."""
        for process in self._context.active_children():
            process.kill()


def main() -> None:
    """Serve one SuperNode until the process is ended.

    Its arguments: the port of the SuperNode's Runtime API on the loopback address, the file of the
    secret that the two share, and the id of a process; this one ends when that one does.
    """
    port, secret, parent = sys.argv[1:]
    disable_process_dumping(strict=False)  # the secret is in its memory

    def executor(*_: Any, **__: Any) -> ForkingExecutor:
        return ForkingExecutor()

    run_superexec.get_executor = executor  # type: ignore[attr-defined]
    run_superexec.run_superexec(
        runtime_api_address=f"127.0.0.1:{port}",
        insecure=True,
        superexec_auth_secret=Path(secret).read_bytes().strip(),
        parent_pid=int(parent),
        runtime_dependency_install=False,
    )
