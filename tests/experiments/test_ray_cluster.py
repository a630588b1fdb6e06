"""Campaigns and simulations over three machines of a Ray cluster, with a folder they share or not.

The machines are processes in namespaces of their own; see `tests.ray_machines`.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_partition.synthetic_ham10000 import write_ham10000
from experiments.campaigns.campaign_folder import CampaignFolder
from tests.ray_machines import Machines, why_not
from tests.runs import FEDSKIN, tiny_options
from training.run_folder import RunFolder

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef0123456789abcdef"


class Site:
    """Where the machines are, and what they see.

    Attributes:
        machines: three, of one core each.
        own: a folder that only the head sees.
        shared: a folder that all see, below ``own``.
        data: images, which all see.
    """

    def __init__(self, machines: Machines, own: Path, data: Path) -> None:
        self.machines = machines
        self.own = own
        self.shared = own / "shared"
        self.data = data

    def start(self, name: str, **environment: str) -> None:
        """Start a machine."""
        seen = [self.own if name == "head" else self.shared, self.data]
        self.machines.start(name, seen, cpus=1, **environment)

    def fedskin(self, *words: object, token: str = TOKEN) -> subprocess.Popen[str]:
        """Start the program on the head."""
        return subprocess.Popen(
            self.machines.command("head", [FEDSKIN, *words]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.machines.environment, "RAY_AUTH_TOKEN": token},
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := why_not():
        pytest.skip(reason)
    data = tmp_path_factory.mktemp("images") / "ham"
    write_ham10000(data, images=60, seed=0)  # some of each class for training, as heads need
    own = tmp_path_factory.mktemp("head")
    (own / "shared").mkdir()
    with Machines({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}) as machines:
        found = Site(machines, own, data)
        for name in ("head", "node-b", "node-c"):
            found.start(name)
        machines.wait()
        yield found


def wait_until(done: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Return the first result that is true, while a process runs."""
    deadline = time.monotonic() + 300
    while not (found := done()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a process, and return what it said."""
    said, _ = process.communicate(timeout=400)
    return said


@pytest.fixture(scope="module")
def reference(site: Site) -> CampaignFolder:
    """A campaign in the shared folder, of one trial, a simulation on one machine."""
    (site.own / "one.toml").write_text(
        'name = "one"\n[[part]]\ncommand = "simulate"\n', encoding="utf-8"
    )
    out = site.shared / "one"
    options = tiny_options(site.data, site.shared / "cache", dataset="ham10000", rounds=5)
    place = ["--out", out, "--ray-address", "auto"]
    process = site.fedskin("campaign", "run", site.own / "one.toml", *place, *options)
    said = ended(process)
    assert process.returncode == 0, said
    assert "1 of 1 done" in said
    return CampaignFolder(out)


def test_a_simulation_whose_machine_is_killed_goes_on_with_the_others(
    site: Site, reference: CampaignFolder
) -> None:
    (trial,) = reference.plan()[1]
    folder = RunFolder(site.own / "run")
    options = tiny_options(site.data, site.own / "cache", dataset="ham10000", rounds=5)
    place = ["--out", folder.path, "--ray-address", site.machines.address]
    process = site.fedskin("simulate", *options, *place)
    wait_until(lambda: folder.checkpoint.progress().round, process)
    site.machines.kill("node-c")
    said = ended(process)
    assert process.returncode == 1, said
    assert "died" in said, said
    assert folder.checkpoint.progress().round < 5

    process = site.fedskin("simulate", "--resume", *place)
    said = ended(process)
    assert process.returncode == 0, said
    expected = reference.run_folder(trial.id).metrics()["weights_sha256"]
    assert folder.metrics()["weights_sha256"] == expected
    site.start("node-c")


def test_results_come_back_without_a_shared_folder_and_a_killed_machines_trial_is_repeated(
    site: Site,
) -> None:
    (site.own / "two.toml").write_text(
        'name = "two"\nseeds = [0, 1]\n[[part]]\ncommand = "heads"\n'
        "[part.grid]\nknn-neighbors = [1, 3]\n",
        encoding="utf-8",
    )
    out = CampaignFolder(site.own / "two")
    settings = {"dataset": "ham10000", "epochs": 1, "heads": "knn"}
    options = tiny_options(site.data, site.own / "cache", **settings)
    place = ["--out", out.path, "--ray-address", "auto"]
    process = site.fedskin("campaign", "run", site.own / "two.toml", *place, *options)

    def elsewhere() -> str:
        records = [out.attempt(trial.id) for trial in out.plan()[1]] if out.exists() else []
        hosts = [record["host"] for record in records if record.get("outcome") == "running"]
        return next((host for host in hosts if host != "head"), "")

    lost = wait_until(elsewhere, process)
    site.machines.kill(lost)
    said = ended(process)
    assert process.returncode == 0, said
    assert "4 of 4 done" in said
    _, planned = out.plan()
    assert lost not in {out.attempt(trial.id)["host"] for trial in planned}


def test_another_version_is_refused_with_the_machines_name(site: Site) -> None:
    other = site.shared / "other" / "torch-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    site.start("node-d", PYTHONPATH=str(other.parent))
    site.machines.wait()
    options = tiny_options(site.data, site.own / "cache", dataset="ham10000")
    process = site.fedskin(
        "simulate", *options, "--out", site.own / "refused", "--ray-address", "auto"
    )
    said = ended(process)
    site.machines.kill("node-d")
    assert process.returncode == 2, said
    line = said.strip().splitlines()[-1]
    assert "node-d (10.77.0." in line
    assert "has torch 9.9.9, not" in line
    assert "node-b" not in line


def test_a_machine_without_the_images_is_refused_by_name(site: Site) -> None:
    site.machines.start("node-e", [site.shared], cpus=1)
    site.machines.wait()
    options = tiny_options(site.data, site.own / "cache", dataset="ham10000")
    place = ["--out", site.own / "refused", "--ray-address", "auto"]
    process = site.fedskin("simulate", *options, *place)
    said = ended(process)
    site.machines.kill("node-e")
    assert process.returncode == 2, said
    assert re.search(rf"node-e \(10\.77\.0\.\d+\): no such folder: {site.data}", said), said


def test_nobody_is_let_in_without_the_token(site: Site) -> None:
    options = tiny_options(site.data, site.own / "cache", dataset="ham10000")
    place = ["--out", site.own / "refused", "--ray-address", site.machines.address]
    process = site.fedskin("simulate", *options, *place, token=TOKEN[::-1])
    said = ended(process)
    assert process.returncode == 2, said
    line = said.strip().splitlines()[-1]
    assert line.startswith(
        f"fedskin: --ray-address {site.machines.address}: no Ray cluster answers"
    )
    assert "RAY_AUTH_TOKEN" in line
