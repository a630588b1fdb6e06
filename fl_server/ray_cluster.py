"""A Ray cluster that is there already: who is in it, and whether all of it runs the same code."""

import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from training.config import ExperimentConfig
from training.errors import ConfigError
from training.experiment_data import data_facts

# The code and the libraries that decide a result.
PACKAGES = ("fedskin", "torch", "torchvision", "ray", "flwr", "numpy")
CODE = (
    *("operation", "data_partition", "models", "strategies", "training"),
    *("fl_server", "fl_client", "experiments"),
)

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster.

    Attributes:
        name: host name and address.
        node_id: Ray's number for it.
        resources: what Ray may give away of it: ``CPU``, ``GPU``, and ``memory`` in bytes.
    """

    name: str
    node_id: str
    resources: dict[str, float]


@dataclass(frozen=True)
class RayCluster:
    """A cluster whose machines all have the same versions.

    Attributes:
        address: HOST:PORT of its head.
        machines: all of them; at least one.
        shared: whether all see the folder that was asked for.
        free_cpus: cores that no other work has taken.
    """

    address: str
    machines: tuple[Machine, ...]
    shared: bool
    free_cpus: float


@contextmanager
def joined(address: str, folder: Path) -> Iterator[RayCluster]:
    """Connect this process, on a machine of the cluster, to it.

    Args:
        address: HOST:PORT, or ``auto`` for the cluster of this machine.
        folder: an existing folder. A file is written there for a moment, to see who finds it.

    Raises:
        ConfigError: nobody answers, or a machine, which is named, does not answer or has another
            version of Python, fedskin or a library than this process.
    """
    _connect(address)
    try:
        machines = tuple(
            Machine(
                f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
                node["NodeID"],
                node["Resources"],
            )
            for node in ray.nodes()
            if node["Alive"]
        )
        marker = folder / f".{uuid.uuid4().hex}"
        marker.touch()
        try:
            sees = _ask(address, machines, marker)
        finally:
            marker.unlink()
        yield RayCluster(
            address=ray.get_runtime_context().gcs_address,
            machines=tuple(machine for machine in machines if machine.name in sees),
            shared=all(sees.values()),
            free_cpus=ray.available_resources().get("CPU", 0.0),
        )
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    try:
        if address != "auto":
            # Otherwise Ray ends the whole process if nothing answers.
            host, colon, port = address.rpartition(":")
            if not colon or not port.isdigit() or int(port) >= 2**16:
                raise ConfigError(f"--ray-address {address}: write it as HOST:PORT, or auto")
            socket.create_connection((host, int(port)), timeout=10).close()
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, UnicodeError, RuntimeError, RayError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--ray-address {address}: no Ray cluster answers ({reason}); is it running, with this "
            "version of Ray, and is its token (RAY_AUTH_MODE, RAY_AUTH_TOKEN) that of this process?"
        ) from None


def _ask(address: str, machines: Sequence[Machine], marker: Path) -> dict[str, bool]:
    """Return by name whether a machine sees a file, without machines that have just ended."""
    look = looking(PACKAGES, CODE, str(marker))
    ours, _ = look()
    sees: dict[str, bool] = {}
    faults = []
    for name, reference in _on_each(machines, look).items():
        try:
            theirs, sees[name] = ray.get(reference, timeout=ANSWER_SECONDS)
        except TaskUnschedulableError:  # Ray still lists a machine for a while after its end
            continue
        except GetTimeoutError:
            faults.append(f"{name} did not answer within {ANSWER_SECONDS:.0f} s")
        except RayError as error:
            faults.append(f"{name}: {str(error).strip().splitlines()[-1]}")
        else:
            faults += difference(name, theirs, ours)
    if faults:
        raise ConfigError(
            f"--ray-address {address}: {'; '.join(faults)}; every machine needs what this one has"
        )
    return sees


def check_images(cluster: RayCluster, config: ExperimentConfig) -> None:
    """Compare the images that a config names on each machine with those here.

    Each machine builds its image store now, if it has none.

    Raises:
        ConfigError: names the machines that have other images, or none.
    """
    asked = _on_each(cluster.machines, data_facts, config)
    ours, faults = data_facts(config), []
    for name, reference in asked.items():
        try:
            if ray.get(reference) != ours:
                faults.append(f"{name}: {config.data_dir} holds other images than here")
        except RayTaskError as error:
            faults.append(f"{name}: {error.cause}")
        except RayError as error:
            faults.append(f"{name}: {str(error).strip().splitlines()[0]}")
    if faults:
        raise ConfigError("\n".join(faults))


def _on_each(
    machines: Sequence[Machine], function: Callable[..., object], *arguments: object
) -> dict[str, Any]:
    """Call a function on each machine; return the references of the results by the names."""
    task: Any = ray.remote(function)
    return {
        machine.name: task.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node_id, soft=False),
        ).remote(*arguments)
        for machine in machines
    }


def difference(name: str, theirs: dict[str, str], ours: dict[str, str]) -> list[str]:
    """Return a line if a machine has other versions than this one."""
    other = [f"{key} {theirs[key]}, not {ours[key]}" for key in ours if theirs[key] != ours[key]]
    return [f"{name} has {' and '.join(other)}"] if other else []


def looking(
    packages: Sequence[str], code: Sequence[str], marker: str
) -> Callable[[], tuple[dict[str, str], bool]]:
    """Return a function that returns what the machine on which it is called has.

    It is a closure, which Ray sends as code: a machine with another fedskin, or none, has no
    function of this module.
    """

    def look() -> tuple[dict[str, str], bool]:
        import hashlib
        import platform
        from importlib import metadata, util
        from pathlib import Path

        versions = {"Python": platform.python_version()}
        for package in packages:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                versions[package] = "(none)"
        digest = hashlib.sha256()
        for name in code:
            spec = util.find_spec(name)
            root = Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{name}/{path.relative_to(root)}\n".encode() + path.read_bytes())
        versions["fedskin"] += f" (code {digest.hexdigest()[:8]})"
        return versions, Path(marker).exists()

    return look
