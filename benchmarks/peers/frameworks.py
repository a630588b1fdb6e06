"""The frameworks: what is installed, and how each is started as its documentation says."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from benchmarks.peers.environments import version
from operation.environment import free_port

APPS = Path(__file__).with_name("apps")
CLIENTS = 3


@dataclass(frozen=True, kw_only=True)
class Framework:
    """One framework.

    Attributes:
        packages: pip's requirements; none: runs in this environment.
        settings: how it is run, in words.
        commands: from its interpreter and an empty folder to the commands that run side by side
            until all of them have ended.
        against_metadata: see `benchmarks.peers.environments.install`.
    """

    packages: tuple[str, ...] = ()
    settings: str
    commands: Callable[[Path, Path], list[list[str]]]
    against_metadata: bool = False


def _script(name: str) -> Callable[[Path, Path], list[list[str]]]:
    return lambda python, folder: [[str(python), str(APPS / name)]]


def _torchrun(python: Path, _folder: Path) -> list[list[str]]:
    run = [str(python), "-m", "torch.distributed.run", "--standalone", "--nnodes=1"]
    return [[*run, f"--nproc_per_node={CLIENTS}", str(APPS / "pfl_research.py")]]


def _flwr_run(python: Path, folder: Path) -> list[list[str]]:
    for name in ("flower_app.py", "client_work.py"):
        (folder / name).write_bytes((APPS / name).read_bytes())
    components = {"serverapp": "flower_app:server", "clientapp": "flower_app:client"}
    app = {"publisher": "peers", "components": components, "fab-include": ["*.py"]}
    project = {"name": "peers", "version": "1.0.0", "license": "Apache-2.0"}
    settings = {"project": project, "tool": {"flwr": {"app": app}}}
    (folder / "pyproject.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    options = f"num-supernodes={CLIENTS} client-resources-num-cpus=1"
    flwr = str(python.with_name("flwr"))
    return [[flwr, "run", str(folder), "local", "--stream", "--federation-config", options]]


def _server_and_clients(python: Path, _folder: Path) -> list[list[str]]:
    address = f"127.0.0.1:{free_port()}"
    client = [str(python), str(APPS / "fl4health_client.py"), address]
    return [
        [str(python), str(APPS / "fl4health_server.py"), address],
        *([*client, str(number)] for number in range(CLIENTS)),
    ]


PLAIN = "plain loop"
FRAMEWORKS: Mapping[str, Framework] = {
    PLAIN: Framework(
        settings="one process, torch with all cores, the clients one after the other",
        commands=lambda python, folder: [[sys.executable, str(APPS / "plain.py")]],
    ),
    "Flower": Framework(
        packages=(f"flwr[simulation]=={version('flwr')}",),
        settings="flwr run, Simulation Runtime, client-resources-num-cpus=1 and no init-args, as "
        "its guide recommends; without installing the app's dependencies for every run",
        commands=_flwr_run,
    ),
    "NVFlare": Framework(
        packages=("nvflare[pt]==2.9.0",),
        settings="FedAvgRecipe, SimEnv with three threads: each client a process of one torch "
        "thread, the script inside it",
        commands=_script("nvflare_job.py"),
    ),
    "FL4Health": Framework(
        packages=("fl4health==0.4.2",),
        settings="FlServer and BasicClient of its basic example without checkpoints, a process "
        "of one torch thread for each client, all started at once; its metadata asks for Python "
        "3.10 and torch 2.6, and it ran with the Python and torch of all",
        commands=_server_and_clients,
        against_metadata=True,
    ),
    "pfl-research": Framework(
        packages=("pfl==0.6.0",),
        settings="FederatedAveraging, SimulatedBackend, torchrun with a process for each client; "
        "validation images evaluated centrally, before the first step too, as its callback does",
        commands=_torchrun,
    ),
}
