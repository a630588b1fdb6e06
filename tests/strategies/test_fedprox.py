import numpy as np
import pytest
from flwr.app import ConfigRecord, Message

from strategies.arrays import to_record, views
from strategies.fedavg import FedAvg
from strategies.fedprox import FedProx
from tests.support import MemoryGrid, answer, assert_same_bits, received_by, settings_of

pytestmark = pytest.mark.usefixtures("flower_task")

CLIENTS = {3: "client-0", 1: "client-1"}


def pulled(message: Message) -> Message:
    """One step of a client of FedProx on a loss whose gradient at w is w − target.

    With learning rate ½ and two steps: w ← w − ½((w − target) + μ(w − w_glo)).
    """
    settings = settings_of(message)
    received = views(received_by(message))["w"]
    target = np.float32(1 + 4 * int(settings["client-index"]))
    mu = np.float32(settings.get("proximal-mu", 0.0))
    w = received.copy()
    for _ in range(2):
        w -= np.float32(0.5) * ((w - target) + mu * (w - received))
    return answer(message, {"w": w}, num_examples=1)


def run(strategy: FedAvg) -> dict[str, np.ndarray]:
    grid = MemoryGrid(dict.fromkeys(CLIENTS, pulled))
    start = to_record({"w": np.array([0.0, 0.25], np.float32)})
    return views(strategy.start(grid, start, num_rounds=2).arrays)


def test_every_message_carries_mu_beside_what_fedavg_sends() -> None:
    arrays, config = to_record({"w": np.zeros(1)}), ConfigRecord({"experiment": "x"})
    common = {"clients": CLIENTS, "rounds_done": 2}
    sent = [
        [dict(settings_of(m)) for m in s.configure_train(1, arrays, config, MemoryGrid({}))]
        for s in (FedAvg(**common), FedProx(proximal_mu=0.25, **common))
    ]
    assert sent[1] == [{**settings, "proximal-mu": 0.25} for settings in sent[0]]
    assert "proximal-mu" not in config


def test_arguments_reach_fedavg() -> None:
    strategy = FedProx(
        proximal_mu=0.5,
        clients=CLIENTS,
        aggregation_weights="examples",
        min_replies=2,
        rounds_done=3,
    )
    assert strategy.proximal_mu == 0.5
    assert strategy.clients == CLIENTS
    assert strategy.aggregation_weights == "examples"
    assert (strategy.min_replies, strategy.rounds_done) == (2, 3)


def test_without_mu_it_is_fedavg_to_the_bit() -> None:
    assert_same_bits(run(FedProx(proximal_mu=0.0, clients=CLIENTS)), run(FedAvg(clients=CLIENTS)))


def test_worked_example() -> None:
    """From 0 towards 1 with η = ½: first 0.5; then, with μ = ½, 0.5 − ½(−0.5 + 0.25) = 0.625,
    where FedAvg reaches 0.75. Towards 5: five times as far. Means 3·0.625 and 3·0.75.
    """
    for strategy, expected in (
        (FedProx(proximal_mu=0.5, clients=CLIENTS), 1.875),
        (FedAvg(clients=CLIENTS), 2.25),
    ):
        grid = MemoryGrid(dict.fromkeys(CLIENTS, pulled))
        start = to_record({"w": np.zeros(1, np.float32)})
        assert views(strategy.start(grid, start, num_rounds=1).arrays)["w"].tolist() == [expected]
