"""A whole simulated run: started on a SuperLink and watched; its run folder decides the result."""

import time
from collections.abc import Callable
from dataclasses import asdict

from fl_server.bundle import write_settings
from fl_server.federated_config import Resources
from fl_server.simulation_superlink import SuperLink
from models.registry import known
from operation.files import naming
from operation.fork_server import ForkServerError
from operation.processes import ProcessId, end_processes
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.run_environment import environment
from training.run_folder import RunFolder
from training.run_state import INTERRUPTED, RunState

POLL_SECONDS = 0.2

# Of networks. A process that needs one takes most of a second to import it, its forks then none;
# torchvision is imported in any case.
_LIBRARIES = ("timm", "open_clip")


def libraries_of(backbone: str) -> tuple[str, ...]:
    """Return what a simulation's processes import for a network, without importing it here."""
    spec = known(backbone)
    provider = backbone.partition(":")[0] if spec is None else spec.provider
    return (provider,) if provider in _LIBRARIES else ()


class SimulationFailed(RuntimeError):
    """A run that ended without a result, with the cause in one line."""


def take_over(folder: RunFolder) -> None:
    """Make sure that no process works on a run folder; end what a killed starter left running.

    Raises:
        RunFolderError: another starter is alive and running it.
    """
    starter = folder.manifest().get("starter")
    if starter is None:
        return
    owner = ProcessId(starter["pid"], starter["created"])
    if owner == ProcessId.own():
        return
    if not owner.ends_within(1.0):
        raise RunFolderError(f"{folder.path}: process {owner.pid} is running this run")
    end_processes(starter["token"])


def simulate(
    config: ExperimentConfig,
    folder: RunFolder,
    superlink: SuperLink,
    resources: Resources,
    watch: Callable[[RunFolder], None] = lambda folder: None,
) -> None:
    """Run a simulation to its end, from where its run folder left off.

    Args:
        config: resolved, with absolute paths and ``run-dir``.
        superlink: a running one; it can be used for further runs afterwards.
        watch: called a few times a second with the folder, to show progress.

    Raises:
        SimulationFailed: the run has no result; the cause is also in the manifest.
    """
    take_over(folder)
    folder.update_manifest(
        **environment(),
        status=RunState.RUNNING,
        phase="starting Flower",
        cause=None,
        finished=None,
        server=None,
        starter={**asdict(ProcessId.own()), "token": superlink.token},
        resources=asdict(resources),
    )
    try:
        _start(config, superlink, resources)
        _wait(folder, superlink, watch)
    except (SimulationFailed, ForkServerError) as failure:
        folder.fail(str(failure))
        raise SimulationFailed(str(failure)) from None
    except KeyboardInterrupt:
        folder.fail(INTERRUPTED)
        raise
    finally:
        superlink.end_run()


def _start(config: ExperimentConfig, superlink: SuperLink, resources: Resources) -> None:
    app = superlink.home / "app"
    with naming(superlink.home):
        app.mkdir(exist_ok=True)
        write_settings(app, config.to_flat(), packages=())
    federation: dict[str, int | float] = {
        "num-supernodes": config.clients,
        "client-resources-num-cpus": resources.cluster_cpus or 1,
    }
    if resources.gpu_fraction:
        federation["client-resources-num-gpus"] = resources.gpu_fraction
    superlink.run(app, federation, cpus=resources.concurrency, gpus=resources.gpus)


def _wait(folder: RunFolder, superlink: SuperLink, watch: Callable[[RunFolder], None]) -> None:
    """Wait until the run folder says completed; the exit statuses of Flower say too little."""
    while True:
        watch(folder)
        gone = superlink.ended()
        # Checked last: a process that has ended may have finished its work just before.
        manifest = folder.manifest()
        if manifest["status"] == RunState.COMPLETED:
            watch(folder)
            return
        if manifest["status"] == RunState.FAILED:
            raise SimulationFailed(manifest["cause"])
        if gone:
            raise SimulationFailed(gone)
        time.sleep(POLL_SECONDS)
