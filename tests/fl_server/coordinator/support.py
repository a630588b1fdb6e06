"""Real coordinators for tests: a folder on a free port, a bundle that computes nothing, sites."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fl_client.site.invitation import Invitation, ca_fingerprint
from fl_client.site.site_folder import SiteFolder, SiteSettings, fill_folder
from fl_server.coordinator.coordinator_folder import CoordinatorFolder, CoordinatorSettings
from operation.environment import flower_environment, free_port
from operation.flower_internals import build_fab_from_disk
from operation.processes import end_processes
from tests.runs import FEDSKIN
from training.config import DEFAULTS

# Another address of this machine than that of the coordinator's own processes.
PUBLIC = "127.0.0.2"

# A ServerApp that keeps a run folder as ours does, and needs a third of a second for a round.
SERVER = """
import json, os, time, tomllib
from dataclasses import asdict
from pathlib import Path
from flwr.serverapp import ServerApp
from operation.files import write_json
from operation.processes import ProcessId

app = ServerApp()

@app.main()
def main(grid, context):
    assert context.run_config["run-dir"] == context.run_config["test-dir"] == ""
    places = tomllib.loads(Path(os.environ["FEDSKIN_PLACES"]).read_text())
    folder = Path(places["run-dir"])
    manifest = folder / "manifest.json"

    def tell(**changes):
        write_json(manifest, {**json.loads(manifest.read_text()), **changes})

    tell(server=asdict(ProcessId.own()), phase="waiting for the sites")
    sites = json.loads(manifest.read_text())["sites"]
    while not set(sites.values()) <= set(grid.get_node_ids()):
        time.sleep(0.1)
    if (folder / "fail").exists():
        tell(status="failed", cause="as the test wished")
        raise RuntimeError
    tell(phase="training")
    state = folder / "checkpoint" / "state.json"
    done = json.loads(state.read_text())["round"] if state.exists() else 0
    for number in range(done + 1, context.run_config["rounds"] + 1):
        time.sleep(0.3)
        progress = {"round": number, "best_round": 0, "best_figure": None, "records": []}
        write_json(state, progress)
    tell(status="completed", phase="completed")
"""
LOOP = """
import subprocess, sys, time
while True:
    subprocess.run(sys.argv[1:], start_new_session=True)
    time.sleep(1)
"""
CLIENT = "from flwr.clientapp import ClientApp\napp = ClientApp()\n"


def write_tiny_bundle(folder: CoordinatorFolder, app: Path) -> None:
    """Put a bundle of the tiny app where that of fedskin would be."""
    package = app / "tiny"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "server.py").write_text(SERVER)
    (package / "client.py").write_text(CLIENT)
    settings = {
        "project": {"name": "tiny", "version": "1.0.0", "license": "Apache-2.0"},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "test",
                    "fab-include": ["tiny/*.py"],
                    "components": {
                        "serverapp": "tiny.server:app",
                        "clientapp": "tiny.client:app",
                    },
                    "config": DEFAULTS,
                }
            }
        },
    }
    (app / "pyproject.toml").write_text(tomli_w.dumps(settings))
    folder.bundle.write_bytes(build_fab_from_disk(app))


def make_folder(path: Path) -> CoordinatorFolder:
    """A coordinator's folder that listens on another address than its own processes use."""
    folder = CoordinatorFolder(path)
    folder.create(CoordinatorSettings(host=PUBLIC, port=free_port(PUBLIC), bind=PUBLIC))
    return folder


def make_key(path: Path) -> str:
    """Write a site's private key, and return the public one as OpenSSH text."""
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode("ascii")


@contextmanager
def served(folder: CoordinatorFolder) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a coordinator's folder by the program, in a process of its own, till the end.

    If the test fails meanwhile, what the process has said is printed.
    """
    path = folder.path.parent / "serve.output"
    with path.open("ab") as output:
        process = subprocess.Popen(
            [FEDSKIN, "coordinator", "serve", folder.path], stdout=output, stderr=output
        )
    try:
        yield process
    except BaseException:
        print(path.read_text(errors="replace"))
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def supernode(folder: CoordinatorFolder, key: Path, home: Path) -> Iterator[None]:
    """Keep a site's SuperNode running, as a site's supervisor does, till the end.

    Flower's own program is no use here: if two of its threads learn at once that the SuperLink does
    not know it any more, it neither ends nor connects again.
    """
    token = f"test-{os.getpid()}-{time.time_ns()}"
    site = SiteFolder(home)
    site.create()
    ca = folder.ca_certificate.read_bytes()
    fingerprint = ca_fingerprint(ca, folder.ca_certificate)
    invitation = Invitation(folder.settings().address, ca, fingerprint)
    settings = SiteSettings(name="site", address=invitation.address, data_dir=str(home))
    fill_folder(site, settings, invitation)
    site.key.write_bytes(key.read_bytes())
    # A loop of its own, so that nothing of the site's supervision is needed here. Not a shell's: it
    # ends with a child that died of an interrupt, as a SuperNode does that is not known any more.
    program = [sys.executable, "-m", "fl_client.site.supernode", str(home), str(free_port())]
    loop = [sys.executable, "-c", LOOP, *program]
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(
            loop, stdout=output, stderr=output, env=flower_environment(home, token), cwd=home
        )
    try:
        yield
    except BaseException:
        print((home / "output").read_text(errors="replace"))
        raise
    finally:
        end_processes(token)
        process.wait()
