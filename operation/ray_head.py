"""Ray on this machine with two processes instead of eight.

`ray.init` also starts a dashboard, an autoscaler, a monitor of logs and two agents, which nobody
here asks for anything. A simulation's workers are forks: else each would import all libraries anew.
All private parts of Ray that this project uses are here and in `operation.ray_worker`; they are for
one version of Ray.
"""

import json
import os
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

from operation.files import write_text

VERSION = "2.55.1"

# Fixed address: otherwise everybody on the machine's networks reaches Ray.
HOST = "127.0.0.1"

_PORTS = (
    "METRICS_AGENT_PORT_NAME",
    "METRICS_EXPORT_PORT_NAME",
    "DASHBOARD_AGENT_LISTEN_PORT_NAME",
    "RUNTIME_ENV_AGENT_PORT_NAME",
)


def main() -> None:
    """Run Ray until this process is killed.

    Its arguments: a folder for Ray's files, the numbers of CPUs and of GPUs that it may give away,
    and a file to which its address is written when it can be used. Its workers are forks of the
    fork server that the environment names.
    """
    folder, cpus, gpus, address = sys.argv[1:]
    head = start(
        folder,
        cpus=int(cpus),
        gpus=int(gpus),
        setup_worker_path=str(Path(__file__).with_name("ray_worker.py")),
    )
    write_text(Path(address), head.gcs_address)
    while True:
        signal.pause()


def read_secret_again() -> None:
    """Let this process talk to Ray with the secret of its environment, or without one.

    Ray itself reads it only while it is imported.
    """
    from ray import _raylet

    raylet: Any = _raylet
    mode = os.environ.get("RAY_AUTH_MODE", "disabled")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    raylet.Config.initialize(json.dumps({"AUTH_MODE": mode}).encode())


def start(folder: str, *, cpus: int, gpus: int | None, **parameters: Any) -> Any:
    """Start a Ray whose workers are new processes, unless ``parameters`` say otherwise.

    It ends when this process does; `Node.kill_all_processes` of what is returned ends it before.

    Args:
        cpus, gpus: numbers that it may give away; ``gpus`` None: all that it finds.
        parameters: further ones of Ray's ``RayParams``.

    Returns:
        Ray's ``Node``, whose ``gcs_address`` is HOST:PORT.
    """
    # Imported here: Ray reads its environment while it is imported, so a fork server must not
    # import it.
    from ray import _raylet
    from ray._private import ray_constants, services, utils
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    raylet: Any = _raylet
    installed = metadata.version("ray")
    assert installed == VERSION, f"this is for Ray {VERSION}, but {installed} is here"

    class Head(Node):
        """A head without a dashboard and without agents."""

        def start_api_server(self, **_: object) -> None:
            """Start no dashboard."""

        def start_raylet(self, *arguments: Any, **options: Any) -> None:
            """Start the raylet, which waits for the ports of its agents: there are none."""
            for name in _PORTS:
                raylet.persist_port(self._session_dir, self._node_id, getattr(raylet, name), -1)
            super().start_raylet(*arguments, **options)

    # A campaign's process has imported Ray before `private_ray` was in its environment.
    ray_constants.ENABLE_RAY_CLUSTER = False
    wanted: Any = RayParams(
        node_ip_address=HOST,
        num_cpus=cpus,
        num_gpus=gpus,
        temp_dir=folder,
        include_log_monitor=False,  # type: ignore[arg-type]
        no_monitor=True,
        **parameters,
    )
    with (
        # The raylet insists on its two agents, and ends when they do: these sleep until it has
        # ended.
        patch.object(
            services,
            "_build_python_executable_command_memory_profileable",
            lambda *_, **__: ("/bin/sh", "-c", "exec cat"),
        ),
        # It would import all that the agents need, to see whether they are installed.
        patch.object(utils, "get_dashboard_dependency_error", lambda: None),
    ):
        return Head(wanted, head=True, shutdown_at_exit=False, spawn_reaper=True)
