"""Whole runs with packed updates, by both real apps; Flower's processes are left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fl_server.federated_run import RunFailed
from strategies.layout import Layout, Signature
from strategies.wire_format import signature
from tests.fl_server.clients_in_memory import ROUNDS, Clients, run_in_memory
from training.run_folder import RunFolder
from training.weights import save_weights

pytestmark = pytest.mark.usefixtures("flower_run")

# The clients' state between rounds: the residual of int8, and the optimizer's momentum. The
# server's: the moments of FedAdam.
KEPT = {
    "wire_format": "int8",
    "momentum": 0.9,
    "client_optimizer": "persistent",
    "strategy": "fedadam",
}


@pytest.fixture(scope="module")
def undisturbed(
    synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run_in_memory(synthetic_ham, cache, out, best_by="loss", **KEPT)
    return RunFolder(out)


def test_the_best_round_is_by_the_figure_that_the_config_names(undisturbed: RunFolder) -> None:
    losses = [record["validation"]["pooled"]["loss"] for record in undisturbed.rounds()]
    found = undisturbed.metrics()
    assert found["best_round"] == 1 + losses.index(min(losses))
    assert found["best_by"] == undisturbed.manifest()["best_by"] == "loss"
    assert found["last"]["global_test"]["n"] == found["global_test"]["n"]


def test_more_rounds_are_those_of_a_run_that_had_them_from_the_start(
    undisturbed: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    for rounds in (ROUNDS - 1, ROUNDS):
        run_in_memory(synthetic_ham, cache, tmp_path / "run", best_by="loss", **KEPT, rounds=rounds)
    longer = RunFolder(tmp_path / "run")
    assert longer.metrics() == undisturbed.metrics()
    assert longer.manifest()["status"] == "completed"
    for mine, theirs in zip(longer.rounds(), undisturbed.rounds(), strict=True):
        assert mine["validation"] == theirs["validation"]
        assert mine["train_loss"] == theirs["train_loss"]


@pytest.mark.parametrize("damaged", [False, True])
def test_without_the_servers_state_a_run_does_not_go_on(
    undisturbed: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path, damaged: bool
) -> None:
    """Rather than with moments that begin again at zero."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed.path, out)
    path = RunFolder(out).checkpoint.path("server", ROUNDS)
    if damaged:
        save_weights(path, {"m/other.weight": np.zeros(3, np.float32)})
    else:
        path.unlink()
    cause = "is not the server's state of FedAdam" if damaged else "these weights cannot be read"
    with pytest.raises(RunFailed, match=f"server-0000{ROUNDS}.safetensors: {cause}"):
        run_in_memory(synthetic_ham, cache, out, best_by="loss", **{**KEPT, "rounds": ROUNDS + 1})
    assert len(RunFolder(out).rounds()) == ROUNDS


def test_rounds_tell_the_bytes_that_travelled(undisturbed: RunFolder) -> None:
    """Down whole, up packed: the arrays' bytes, and for each dtype 128 of a header."""
    whole = Layout.of(undisturbed.checkpoint.weights(ROUNDS)).signature
    packed = signature(whole, "int8")

    def num_bytes(arrays: Signature) -> int:
        sizes = [np.dtype(d).itemsize * int(np.prod(s)) for d, s in arrays.values()]
        return sum(sizes) + 128 * len({dtype for dtype, _ in arrays.values()})

    for record in undisturbed.rounds():
        assert record["bytes_sent"] == 3 * num_bytes(whole)
        assert record["bytes_received"] == 3 * num_bytes(packed)
        assert {c["bytes_received"] for c in record["clients"].values()} == {num_bytes(packed)}
        longest = max(client["seconds"]["message"] for client in record["clients"].values())
        seconds = record["seconds"]
        assert seconds["transport"] == pytest.approx(seconds["clients"] - longest)


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_failed_goes_on_to_the_same_weights_by_what_clients_kept(
    undisturbed: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path, kept: bool
) -> None:
    """The others have trained in round 3 already; without their state the result would differ."""
    out = tmp_path / "run"
    with pytest.raises(RunFailed, match='client-1: "not today"'):
        run_in_memory(synthetic_ham, cache, out, Clients(refuses=3), **KEPT)
    for folder in ("residual", "optimizer"):
        assert (out / "clients" / "client-0" / folder / "round-00003.safetensors").exists()
    if not kept:
        shutil.rmtree(out / "clients")
    found = run_in_memory(synthetic_ham, cache, out, **KEPT)
    same = found["weights_sha256"] == undisturbed.metrics()["weights_sha256"]
    assert same == kept


def test_a_client_that_sends_something_else_is_named_and_the_run_goes_on(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    clients = Clients(cheats=True)
    run_in_memory(
        synthetic_ham, cache, out, clients, wire_format="bfloat16", rounds=1, min_replies=2
    )
    (record,) = RunFolder(out).rounds()
    assert list(record["clients"]) == ["client-0", "client-2"]
    assert "client-1" in record["failures"]
    assert "its arrays differ from those asked for" in record["failures"]["client-1"]
