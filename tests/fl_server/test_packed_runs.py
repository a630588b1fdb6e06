"""Whole runs whose updates travel packed, by both real apps; Flower's processes are left out."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

import fl_client.app
from fl_server.run import RunFailed, run
from strategies.layout import Signature
from strategies.wire_format import signature, signature_of
from tests.runs import tiny_config
from tests.support import MemoryGrid, answer, settings_of
from training.run_folder import RunFolder

ROUNDS = 3


@pytest.fixture(scope="module", autouse=True)
def flower_task() -> Iterator[None]:
    """Be the server's task of a Flower run; clients set torch's threads, here the test's own."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_task_id", "_run_id", "_node_id"):
            patch.setattr(TaskIdentity, name, 1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


class Clients(MemoryGrid):
    """Three simulated clients; client-1 refuses to train in one round, or sends what none asked."""

    def __init__(self, *, refuses: int = 0, cheats: bool = False) -> None:
        super().__init__(dict.fromkeys(range(3), self._act))
        self._refuses, self._cheats = refuses, cheats

    def _act(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if node == 1 and message.metadata.message_type == "train":
            if settings_of(message)["round"] == self._refuses:
                error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "not today")
                return Message(error, reply_to=message)
            if self._cheats:
                return answer(message, {}, num_examples=6)
        return fl_client.app.app(
            message, Context(1, node, {"partition-id": node}, RecordDict(), {})
        )


def run_packed(
    data: Path, cache: Path, out: Path, clients: Clients | None = None, **changes: Any
) -> dict[str, Any]:
    wanted = {"rounds": ROUNDS, "min_replies": 3, "run_dir": str(out), **changes}
    run(clients or Clients(), tiny_config(data, cache, **wanted).to_flat(), run_id=1)
    return RunFolder(out).metrics()


@pytest.fixture(scope="module")
def undisturbed(
    synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run_packed(synthetic_ham, cache, out, wire_format="int8")
    return RunFolder(out)


def test_rounds_tell_the_bytes_that_travelled(undisturbed: RunFolder) -> None:
    """Down whole, up packed: the arrays' bytes, and for each dtype 128 of a header."""
    whole = signature_of(undisturbed.checkpoint.weights(ROUNDS))
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
def test_a_run_that_failed_goes_on_to_the_same_weights_by_its_residuals(
    undisturbed: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path, kept: bool
) -> None:
    """The others have trained in round 3 already; without what they kept it would be another."""
    out = tmp_path / "run"
    with pytest.raises(RunFailed, match="client-1: not today"):
        run_packed(synthetic_ham, cache, out, Clients(refuses=3), wire_format="int8")
    assert (out / "clients" / "client-0" / "residual" / "round-00003.safetensors").exists()
    if not kept:
        shutil.rmtree(out / "clients")
    found = run_packed(synthetic_ham, cache, out, wire_format="int8")
    same = found["weights_sha256"] == undisturbed.metrics()["weights_sha256"]
    assert same == kept


def test_a_client_that_sends_something_else_is_named_and_the_run_goes_on(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    clients = Clients(cheats=True)
    run_packed(synthetic_ham, cache, out, clients, wire_format="bfloat16", rounds=1, min_replies=2)
    (record,) = RunFolder(out).rounds()
    assert list(record["clients"]) == ["client-0", "client-2"]
    assert "client-1" in record["failures"]
    assert "are not as long as their layout says" in record["failures"]["client-1"]
