"""The mean of a round's replies, and the messages that ask for them."""

import gc
import weakref
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from strategies.arrays import to_record, views
from strategies.averaging import Averaging
from strategies.replies import TooFewReplies
from tests.strategies.averaged_rounds import (
    CLIENTS,
    ask,
    average,
    model,
    random_model,
    refused,
    round_of,
    with_nan,
)
from tests.support import (
    MemoryGrid,
    answer,
    assert_same_bits,
    deliver,
    received_by,
    same_bits,
    settings_of,
)

pytestmark = pytest.mark.usefixtures("flower_task")


def test_equal_weights() -> None:
    """(1 + 2 + 6)/3 = 3, however many examples a client has; of the counters the largest."""
    strategy = Averaging(clients=CLIENTS)
    found = round_of(strategy, model(1, 4), model(2, 9), model(6, 5), examples=(1, 1, 2))
    assert_same_bits(found, model(3, 9))
    assert [reply.client for reply in strategy.replies.accepted] == list(CLIENTS.values())
    assert strategy.replies.failures == {}


def test_weights_by_examples() -> None:
    """(1·1 + 1·2 + 2·6)/4 = 3.75."""
    strategy = Averaging(clients=CLIENTS, aggregation_weights="examples")
    found = round_of(strategy, model(1), model(2), model(6), examples=(1, 1, 2))
    assert_same_bits(found, model(3.75))


def test_one_client_alone_is_its_own_mean() -> None:
    trained = {**random_model(0), "zeros": np.array([0.0, -0.0], np.float32)}
    for weights in ("equal", "examples"):
        strategy = Averaging(clients={5: "client-0"}, aggregation_weights=weights)
        assert_same_bits(round_of(strategy, trained, examples=(7,)), trained)


@pytest.mark.parametrize("weights", ["equal", "examples"])
def test_the_order_of_replies_does_not_matter(weights: str) -> None:
    strategy = Averaging(clients=CLIENTS, aggregation_weights=weights)
    results = []
    for order in permutations(range(3)):
        sent = ask(strategy, random_model(9))
        replies = [answer(sent[i], random_model(i), num_examples=10 + i) for i in order]
        results.append(average(strategy, replies))
    assert all(same_bits(result, results[0]) for result in results)


def test_the_order_of_clients_is_that_of_the_sum() -> None:
    strategy = Averaging(clients=CLIENTS)
    parts = [random_model(seed)["w"] for seed in range(3)]
    found = round_of(strategy, *({"w": part} for part in parts))
    assert_same_bits(found, {"w": ((parts[0] + parts[1]) + parts[2]) / np.float32(3)})
    assert not same_bits(found, {"w": (parts[0] + (parts[1] + parts[2])) / np.float32(3)})


def test_dtypes_and_shapes_survive() -> None:
    trained = {
        "half": np.ones(3, np.float16),
        "double": np.ones((1, 2)),
        "counter": np.array(3),
        "mask": np.array([True, False]),
    }
    assert_same_bits(round_of(Averaging(clients=CLIENTS), trained, trained, trained), trained)


def test_messages_of_a_round() -> None:
    """Indices follow the clients' fixed order; all messages share one record of arrays."""
    strategy = Averaging(clients=CLIENTS, rounds_done=5)
    arrays, config = to_record(model(0)), ConfigRecord({"experiment": "seed = 1"})
    sent = list(strategy.configure_train(2, arrays, config, MemoryGrid({})))
    assert [message.metadata.dst_node_id for message in sent] == [30, 10, 20]
    assert {message.metadata.message_type for message in sent} == {"train"}
    assert [dict(settings_of(message)) for message in sent] == [
        {
            "experiment": "seed = 1",
            "round": 5 + 2,
            "client-index": index,
            "counted": 0,
            "best-round": 0,
        }
        for index in range(3)
    ]
    assert all(received_by(message) is arrays for message in sent)
    assert dict(config) == {"experiment": "seed = 1"}


def test_each_client_is_told_which_round_counted_last_and_which_was_the_best() -> None:
    """Not client-1, whose reply was refused; and it is known again after a kill."""

    def told(strategy: Averaging, number: int) -> list[tuple[object, object]]:
        found = map(settings_of, ask(strategy, model(0), number))
        return [(one["counted"], one["best-round"]) for one in found]

    strategy = Averaging(clients=CLIENTS, rounds_done=4, counted={"client-1": 3}, best_round=2)
    assert told(strategy, 1) == [(0, 2), (3, 2), (0, 2)]
    trained = [model(2), with_nan, model(2)]
    average(strategy, [*map(refused, ask(strategy, model(0)), trained)])
    strategy.best_round = 5
    assert told(strategy, 2) == [(5, 5), (3, 5), (5, 5)]
    sent = strategy.evaluation_messages(to_record(model(0)), {"splits": "test"})
    assert [settings_of(message)["counted"] for message in sent] == [5, 3, 5]
    strategy.own_best_rounds = {"client-1": 1}
    assert told(strategy, 3) == [(5, 5), (3, 1), (5, 5)]
    own = {"client-2": {"round": 4}}
    sent = strategy.evaluation_messages(to_record(model(0)), {"round": 5}, own)
    assert [settings_of(message)["round"] for message in sent] == [5, 5, 4]


def test_replies_are_let_go_before_the_next_round(request: pytest.FixtureRequest) -> None:
    """Not when the next replies arrive, or the garbage collector comes by."""
    gc.disable()
    request.addfinalizer(gc.enable)
    strategy = Averaging(clients=CLIENTS)
    replies = [refused(message, model(2)) for message in ask(strategy, model(0))]
    records = [weakref.ref(received_by(reply)["w"]) for reply in replies]
    coming = iter(replies)
    del replies
    strategy.aggregate_train(1, coming)
    assert [record() for record in records] == [None] * 3
    # Their views too, which would hold the bytes alone.
    assert [reply.arrays for reply in strategy.replies.accepted] == [{}] * 3
    # What a round's record needs of them is still there.
    assert [reply.metrics["num-examples"] for reply in strategy.replies.accepted] == [1, 1, 1]
    assert all(reply.num_bytes > 24 for reply in strategy.replies.accepted)


def test_judging_sends_one_model_and_needs_as_many_replies() -> None:
    strategy = Averaging(clients=CLIENTS, min_replies=2)
    arrays = to_record(model(0))
    sent = deliver(strategy.evaluation_messages(arrays, {"splits": "test"}))
    assert {message.metadata.message_type for message in sent} == {"evaluate"}
    assert all(received_by(message) is arrays for message in sent)
    assert settings_of(sent[2]) == {"splits": "test", "client-index": 2, "counted": 0}
    replies = [answer(sent[2], num_examples=3, test_loss=0.5), answer(sent[0], num_examples=4)]
    found = strategy.read_evaluation(replies)
    assert [reply.client for reply in found.accepted] == ["client-0", "client-2"]
    assert found.accepted[1].metrics["test-loss"] == 0.5
    assert found.failures == {"client-1": "gave no answer in time"}

    sent = deliver(strategy.evaluation_messages(arrays, {"splits": "test"}))
    with pytest.raises(TooFewReplies, match=r"^judging: 1 of 3 .*client-0: .*client-1: "):
        strategy.read_evaluation([answer(sent[2], num_examples=3)])


def test_flowers_own_loop_runs_on_these_hooks() -> None:
    """Client i adds i + 1, so each of two rounds adds (1 + 2 + 3)/3 = 2; then 10 + 4."""

    def node(message: Message) -> Message:
        index = int(settings_of(message)["client-index"])
        trained = {"w": views(received_by(message))["w"] + np.float32(index + 1)}
        return answer(message, trained, num_examples=index + 1)

    grid = MemoryGrid(dict.fromkeys(CLIENTS, node))
    strategy = Averaging(clients=CLIENTS, rounds_done=6)
    seen: list[tuple[int, float, list[str]]] = []

    def after_round(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        clients = [reply.client for reply in strategy.replies.accepted]
        seen.append((number, float(views(arrays)["w"][0]), clients))
        return None

    start = to_record({"w": np.full(4, 10, np.float32)})
    result = strategy.start(grid, start, num_rounds=2, evaluate_fn=after_round)
    assert views(result.arrays)["w"].tolist() == [14.0] * 4
    everyone = list(CLIENTS.values())
    assert seen == [(0, 10.0, []), (1, 12.0, everyone), (2, 14.0, everyone)]
    # Train messages only: validation travels with them.
    settings = [settings_of(message) for message in grid.sent]
    assert [(s["round"], s["client-index"]) for s in settings] == [
        *((7, 0), (7, 1), (7, 2)),
        *((8, 0), (8, 1), (8, 2)),
    ]
    assert strategy.seconds.keys() == {"clients", "aggregation"}


def test_flowers_own_loop_ends_when_too_few_answer() -> None:
    """Flower's own strategies would continue with the old weights."""
    strategy = Averaging(clients=CLIENTS, min_replies=2)
    nodes: dict[int, Callable[[Message], Message | None]] = dict.fromkeys(CLIENTS, lambda m: None)
    with pytest.raises(TooFewReplies, match=r"^round 1: "):
        strategy.start(MemoryGrid(nodes), to_record(model(0)), num_rounds=5)


def test_constants_travel_with_every_message_and_never_change() -> None:
    """With training and with judging; what comes back does not carry them."""
    features = np.eye(3, 8, dtype=np.float32)
    strategy = Averaging(clients=CLIENTS, constants={"text": to_record({"features": features})})
    sent = ask(strategy, model(1))
    sent += strategy.evaluation_messages(to_record(model(2)), {"splits": "test"})
    assert len(sent) == 6
    for message in sent:
        record = message.content["text"]
        assert isinstance(record, ArrayRecord)
        np.testing.assert_array_equal(views(record)["features"], features)
    assert_same_bits(round_of(strategy, model(1), model(2), model(6)), model(3))
