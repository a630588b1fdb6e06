"""``fedskin coordinator`` and ``fedskin run``: their output, actions and refusals."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result
from typer.testing import CliRunner

from experiments import coordinator, deployed, site
from experiments.cli import app
from experiments.deployed import check_deployable
from experiments.tracking import follower
from fl_server.coordinator import certificates
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Order, Orders
from fl_server.coordinator.sites import Sites
from operation.errors import OperationError
from operation.serving import serve_folder
from tests.experiments.tracking.test_follower import Listing
from tests.fl_server.coordinator.support import make_folder, make_key
from tests.runs import FEDSKIN, fedskin, wait_until
from training.config import parse
from training.errors import ConfigError, RunFolderError
from training.run_folder import RunFolder
from training.run_state import RunState

# What a run over sites must say, and nothing that takes long.
TINY = ("-c", "dataset=ham10000", "-c", "pretrained=false", "-c", "clients=1")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return " ".join(result.output.split())


def complaint(*arguments: object, kind: type[Exception] = OperationError) -> str:
    error = call(*arguments).exception
    assert isinstance(error, kind), repr(error)
    return str(error)


@pytest.fixture
def folder(tmp_path: Path) -> CoordinatorFolder:
    """A coordinator's folder with one site; nobody serves it."""
    folder = make_folder(tmp_path / "coordinator")
    Sites(folder).admit("hospital-a", make_key(tmp_path / "key"))
    folder.bundle.write_bytes(b"bundle")
    return folder


def test_a_coordinator_is_set_up_and_sites_are_let_in_and_shut_out(tmp_path: Path) -> None:
    coordinator, key = tmp_path / "new", tmp_path / "a.pub"
    output = said("coordinator", "init", coordinator, "--host", "fed.example.org")
    assert str(coordinator / "invitation") in output
    authority = certificates.read_certificate(coordinator / "ca.crt")
    assert certificates.certificate_fingerprint(authority) in output
    key.write_text(make_key(tmp_path / "a.key"))
    assert "hospital-a" in said("coordinator", "admit", coordinator, key, "--name", "hospital-a")
    assert "not served" in said("coordinator", "list", coordinator)
    said("coordinator", "revoke", coordinator, "hospital-a")
    assert "revoked" in said("coordinator", "list", coordinator)


@pytest.mark.parametrize("module", [coordinator, deployed, site])
def test_a_fingerprint_is_printed_as_it_is(module: ModuleType) -> None:
    """Rich would print `:CD:` as a disc, and people compare it by telephone."""
    with module.console.capture() as captured:
        module.console.print("A6:CD:B8")
    assert captured.get() == "A6:CD:B8\n"


def test_the_list_says_who_is_connected_and_what_ran(folder: CoordinatorFolder) -> None:
    Orders(folder).add(Path("/runs/first"), ["hospital-a"], "")
    with serve_folder(folder.path):
        folder.connected.write_text('{"sites": []}')
        assert "not connected" in said("coordinator", "list", folder.path)
        folder.connected.write_text('{"sites": ["hospital-a"]}')
        output = said("coordinator", "list", folder.path)
    assert "not connected" not in output
    assert "waiting" in output
    assert "/runs/first" in output


def test_a_renewed_certificate_says_when_it_and_the_authority_end(
    folder: CoordinatorFolder,
) -> None:
    before = folder.certificate.read_bytes()
    output = said("coordinator", "renew", folder.path)
    assert folder.certificate.read_bytes() != before
    for path in (folder.certificate, folder.ca_certificate):
        assert str(certificates.read_certificate(path).not_valid_after_utc.date()) in output


def test_the_bundle_is_the_same_whenever_it_is_written(folder: CoordinatorFolder) -> None:
    first = said("coordinator", "bundle", folder.path).split()
    content = folder.bundle.read_bytes()
    assert first[0] == str(folder.bundle)
    assert said("coordinator", "bundle", folder.path).split() == first
    assert folder.bundle.read_bytes() == content


def test_a_stopped_run_says_how_to_go_on(folder: CoordinatorFolder, tmp_path: Path) -> None:
    orders = Orders(folder)
    orders.add(tmp_path / "run", ["hospital-a"], "")
    output = said("coordinator", "stop", folder.path, 1)
    assert f"fedskin run --on {folder.path} --resume --out {tmp_path / 'run'}" in output
    assert orders.get(1).state == RunState.STOPPED


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["bundle"],
        ["renew"],
        ["serve"],
        ["stop", "1"],
        ["revoke", "a"],
        ["admit", "a.pub", "--name", "a"],
    ],
)
def test_every_command_knows_a_folder_that_is_none(command: list[str], tmp_path: Path) -> None:
    name, *rest = command
    assert "is not a coordinator's folder" in complaint("coordinator", name, tmp_path, *rest)


def test_a_complaint_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = fedskin("coordinator", "list", "none", cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("fedskin: ")


def test_a_folder_is_served_by_one(folder: CoordinatorFolder) -> None:
    with serve_folder(folder.path):
        line = complaint("coordinator", "serve", folder.path)
    assert f"process {os.getpid()} already serves it" in line


def test_a_port_that_is_taken_is_said(folder: CoordinatorFolder) -> None:
    settings = folder.settings()
    with socket.create_server((settings.bind, settings.port)):
        line = complaint("coordinator", "serve", folder.path)
    assert f"{settings.bind} port {settings.port}: is taken by another program" in line


def test_an_address_of_another_machine_is_said(folder: CoordinatorFolder) -> None:
    path = folder.path / "coordinator.toml"
    path.write_text(path.read_text().replace('bind = "127.0.0.2"', 'bind = "192.0.2.1"'))
    assert "192.0.2.1 port" in (line := complaint("coordinator", "serve", folder.path))
    assert "an address of this machine" in line


def test_a_certificate_that_ended_is_not_served(
    folder: CoordinatorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "SERVER_DAYS", 0)
    folder.renew()
    assert "fedskin coordinator renew" in complaint("coordinator", "serve", folder.path)


def test_a_run_needs_somebody_who_serves(folder: CoordinatorFolder, tmp_path: Path) -> None:
    line = complaint("run", "--on", folder.path, *TINY, "--out", tmp_path / "run")
    assert f"is not served; start  fedskin coordinator serve {folder.path}" in line
    assert not (tmp_path / "run").exists()


def test_what_sites_cannot_run_is_said_at_once(folder: CoordinatorFolder, tmp_path: Path) -> None:
    """Before anybody must serve the folder for it."""
    wrong = ("-c", "data-dir=/data", "-c", "clients=3", "--out", tmp_path / "run")
    lines = complaint("run", "--on", folder.path, *wrong, kind=ConfigError).splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["clients", "dataset", "data-dir"]
    assert "allowed is 1, the number of sites that are admitted: hospital-a" in lines[0]
    assert not (tmp_path / "run").exists()
    assert Orders(folder).all() == []


def test_pooled_training_over_sites_is_refused(folder: CoordinatorFolder, tmp_path: Path) -> None:
    pooled = ("-c", "strategy=pooled", "--out", tmp_path / "run")
    line = complaint("run", "--on", folder.path, *TINY, *pooled, kind=ConfigError)
    assert line.startswith("strategy = 'pooled': trains on all hospitals' images in one place")
    assert "\n" not in line


def test_what_only_a_site_can_know_is_left_to_it() -> None:
    config = check_deployable(parse({"dataset": "ham10000", "clients": 2}), ["a", "b"])
    assert (config.device, config.threads_per_client) == ("auto", 0)
    assert (config.optimizer, config.batch_size, config.min_replies) == ("sgd", 32, 1)
    assert check_deployable(config, ["a", "b"]) == config


def test_no_site_is_no_federation() -> None:
    with pytest.raises(ConfigError, match="no site is admitted; admit each with  fedskin"):
        check_deployable(parse({"dataset": "ham10000", "clients": 1}), [])


@contextmanager
def ordered(folder: CoordinatorFolder, *options: object) -> Iterator[subprocess.Popen[str]]:
    """Order a run by the program; this process plays who serves."""
    command = [FEDSKIN, "run", "--on", folder.path, *options]
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_run_is_ordered_left_alone_and_seen_again(
    folder: CoordinatorFolder, tmp_path: Path
) -> None:
    out, orders = tmp_path / "run", Orders(folder)
    with serve_folder(folder.path):
        with ordered(folder, *TINY, "--out", out) as process:
            wait_until(lambda: orders.all() != [])
            (order,) = orders.all()
            assert (order.state, order.sites) == (RunState.WAITING, ["hospital-a"])
            manifest = RunFolder(out).manifest()
            assert (manifest["command"], manifest["status"]) == ("run", "running")
            orders.record(1, RunState.RUNNING)
            assert process.stdout is not None
            assert "run 1" in process.stdout.readline()
            wait_until(
                lambda: process.stdout is not None and "waiting" in process.stdout.readline()
            )
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            assert process.returncode == 130
            assert f"fedskin run --on {folder.path} --resume --out {out}" in output
            assert f"fedskin coordinator stop {folder.path} 1" in output
        assert orders.get(1).state == RunState.RUNNING
        with ordered(folder, "--resume", "--out", out) as process:
            assert process.stdout is not None
            assert "run 1" in process.stdout.readline()
            orders.record(1, RunState.FAILED, "hospital-a: its disk is full")
            output, _ = process.communicate(timeout=30)
            assert process.returncode == 1
            assert "The run ended: hospital-a: its disk is full" in output
        # Now it is ordered again, and by the same number.
        with ordered(folder, "--resume", "--out", out):
            wait_until(lambda: orders.get(1).state == RunState.WAITING)
        orders.record(1, RunState.COMPLETED)
        assert len(orders.all()) == 1


def test_the_tracker_of_a_run_that_is_stopped_hears_of_it(
    folder: CoordinatorFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who serves writes it into the run folder only after the order says so."""
    tracker, orders, out = Listing(), Orders(folder), tmp_path / "run"

    def stopped(order: Order, *_: object) -> Order:
        orders.record(order.number, RunState.RUNNING)
        orders.stop(order.number)
        return orders.get(order.number)

    monkeypatch.setattr(deployed, "_watch", stopped)
    monkeypatch.setattr(follower, "tracker_of_run", lambda *_: tracker)
    with serve_folder(folder.path):
        result = call("run", "--on", folder.path, *TINY, "--out", out, "--track", "mlflow")
    assert result.exit_code == 1, result.output + repr(result.exception)
    assert RunFolder(out).manifest()["status"] == RunState.RUNNING
    assert tracker.ended == (RunState.STOPPED, "stopped")


def test_a_run_keeps_its_sites(folder: CoordinatorFolder, tmp_path: Path) -> None:
    """Sites admitted later do not affect it, and a revoked one is missing."""
    run_folder = RunFolder(tmp_path / "run")
    run_folder.create(
        check_deployable(
            parse({"dataset": "ham10000", "clients": 1, "pretrained": False}), ["hospital-a"]
        )
    )
    run_folder.update_manifest(command="run", clients={"hospital-a": {}})
    Sites(folder).admit("hospital-b", make_key(tmp_path / "other"))
    orders = Orders(folder)
    with serve_folder(folder.path):
        with ordered(folder, "--resume", "--out", run_folder.path):
            wait_until(lambda: orders.all() != [])
        assert orders.get(1).sites == ["hospital-a"]
        orders.stop(1)
        Sites(folder).revoke("hospital-a")
        again = ("run", "--on", folder.path, "--resume", "--out", run_folder.path)
        assert "started with hospital-a (no longer admitted)" in complaint(
            *again, kind=RunFolderError
        )
