"""Every method in a simulation and over sites, and when a reply is lost; without processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    Krum,
    Strategy,
)

from strategies.exchange import arrays_of
from strategies.methods import DEFAULT, METHODS, OWN
from tests.fl_server.clients_in_memory import Clients, run_in_memory
from tests.fl_server.hospitals import NODES, Hospitals
from tests.support import settings_of
from training.participation import absences_of
from training.randomness import sample_clients
from training.run_folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("flower_run")]

WITH_A_CLIENTS_STATE = [name for name, method in METHODS.items() if method.keeps_at_clients]


@pytest.mark.parametrize("strategy", [n for n, method in METHODS.items() if not method.pooled])
def test_a_simulation_is_a_deployment_to_the_bit(
    strategy: str,
    hospitals: Hospitals,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also weighted by examples and packed, with what each client says of its own model."""
    changes: dict[str, Any] = {"strategy": strategy, "rounds": 2, "min_replies": 3}
    changes |= {"wire_format": "int8"}
    if not METHODS[strategy].equal_weights:
        changes |= {"aggregation_weights": "examples"}
    simulated = run_in_memory(hospitals.data, cache, tmp_path / "simulated", **changes)
    found = hospitals.run(monkeypatch, test_dir=hospitals.data, **changes)
    assert found["weights_sha256"] == simulated["weights_sha256"]
    assert found["client_test"] == simulated["client_test"]
    shared = [run.get("shared", {}).get("client_test") for run in (found, simulated)]
    assert shared[0] == shared[1]
    assert found["validation"] == simulated["validation"]


@pytest.mark.parametrize("strategy", [DEFAULT, *WITH_A_CLIENTS_STATE])
def test_a_sample_of_the_clients_is_the_same_over_sites_and_after_a_resume(
    strategy: str,
    hospitals: Hospitals,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of three a round. What clients keep from round to round, also rounding errors, skips the
    rounds that did not ask them; all three judge the result.
    """
    changes: dict[str, Any] = {"strategy": strategy, "clients_per_round": 2, "min_replies": 2}
    changes |= {"wire_format": "int8"}
    if not METHODS[strategy].sgd_only:
        changes |= {"optimizer": "adam", "client_optimizer": "persistent"}
    simulated = run_in_memory(hospitals.data, cache, tmp_path / "simulated", **changes, rounds=4)
    hospitals.run(monkeypatch, test_dir=hospitals.data, **changes, rounds=2)
    found = hospitals.run(monkeypatch, test_dir=hospitals.data, **changes, rounds=4)
    assert found["weights_sha256"] == simulated["weights_sha256"]
    assert found["client_test"] == simulated["client_test"]
    assert found["participation"] == dict(
        zip(NODES, simulated["participation"].values(), strict=True)
    )

    names = list(NODES)
    rounds = hospitals.run_folder.rounds()
    for record in rounds:
        drawn = sample_clients(0, round_number=record["round"], clients=3, size=2)
        assert list(record["clients"]) == [names[index] for index in drawn]
    assert found["sampled"] == found["participation"] != dict.fromkeys(NODES, 4)
    assert found["clients"].keys() == NODES.keys()
    assert rounds[-1]["validation"]["clients"].keys() == NODES.keys()
    assert absences_of(found) == {}


class LosesTheReply(Clients):
    """client-1 trains in every round, and its reply of round two is lost."""

    def _act(self, message: Message) -> Message:
        reply = super()._act(message)
        about = message.metadata
        if (about.dst_node_id, about.message_type) != (1, "train"):
            return reply
        if settings_of(message)["round"] != 2:
            return reply
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "lost"), reply_to=message)


@pytest.mark.parametrize("strategy", [DEFAULT, *WITH_A_CLIENTS_STATE])
def test_a_lost_reply_is_as_if_the_client_had_been_absent(
    strategy: str, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """Else its own state, and that of its optimizer and of rounding, would be ahead of what the
    server knows of it.
    """
    changes: dict[str, Any] = {"strategy": strategy, "rounds": 3, "min_replies": 2}
    changes |= {"wire_format": "int8", "client_optimizer": "persistent"}
    if not METHODS[strategy].sgd_only:
        changes |= {"optimizer": "adam"}
    absent = run_in_memory(synthetic_ham, cache, tmp_path / "a", Clients(refuses=2), **changes)
    lost = run_in_memory(synthetic_ham, cache, tmp_path / "b", LosesTheReply(), **changes)
    assert lost["participation"] == absent["participation"] != {}
    assert lost["weights_sha256"] == absent["weights_sha256"]
    assert lost["client_test"] == absent["client_test"]


class Listening(Clients):
    """Keeps what the clients return of their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: list[dict[str, np.ndarray]] = []

    def _act(self, message: Message) -> Message:
        reply = super()._act(message)
        if message.metadata.message_type == "train":
            content = {**message.content, **reply.content}
            self.returned.append({n: a.copy() for n, a in arrays_of(content).items()})
        return reply


ALL = {"fraction_evaluate": 0.0, "min_available_nodes": 3}


@pytest.mark.parametrize(
    "flower",
    [
        FedMedian(**ALL),
        Krum(**ALL),
        DifferentialPrivacyServerSideFixedClipping(FedAvg(**ALL), 0.0, 1e6, 3),
    ],
    ids=["median", "krum", "differential privacy"],
)
def test_a_strategy_of_flowers_own_takes_the_means_place(
    flower: Strategy,
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The median of every value; one client's model; and, unclipped, the mean up to rounding."""
    monkeypatch.setitem(OWN, DEFAULT, replace(OWN[DEFAULT], flower=lambda _: flower))
    clients = Listening()
    run_in_memory(synthetic_ham, cache, tmp_path, clients, rounds=1)
    found = RunFolder(tmp_path).checkpoint.weights(1)
    assert len(clients.returned) == 3
    for name, array in found.items():
        values = np.stack([reply[name] for reply in clients.returned])
        assert (array.dtype, array.shape) == (values.dtype, values.shape[1:])
        if array.dtype.kind != "f":
            assert (array == values.max(axis=0)).all()
        elif isinstance(flower, FedMedian):
            assert (array == np.median(values, axis=0).astype(array.dtype)).all(), name
        elif isinstance(flower, Krum):
            assert any((array == value).all() for value in values), name
        else:
            np.testing.assert_allclose(array, values.mean(axis=0), rtol=1e-4, atol=1e-4)
