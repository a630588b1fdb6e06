"""Replies that are refused, and rounds that fail for too few of them."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Error, Message, MetricRecord, RecordDict

from strategies.arrays import to_record
from strategies.averaging import Averaging
from strategies.replies import TooFewReplies, cause
from tests.strategies.averaged_rounds import (
    CLIENTS,
    ask,
    average,
    model,
    refused,
    round_of,
    with_nan,
)
from tests.support import (
    answer,
    assert_same_bits,
    received_by,
)

pytestmark = pytest.mark.usefixtures("flower_task")


with_inf = {"w": np.array([[np.inf, 1, 1], [1, 1, 1]], np.float32), "counter": np.array(0)}


FAULTS: dict[str, tuple[Callable[[Message], Message | None], str]] = {
    "error": (
        lambda m: Message(
            Error(code=8, reason="Traceback\n  File x\nTrainingError: bad"), reply_to=m
        ),
        "TrainingError: bad",
    ),
    "silence": (lambda m: None, "gave no answer in time"),
    "missing name": (
        lambda m: refused(m, {"w": model(5)["w"]}),
        "its reply lacks array 'counter'",
    ),
    "unknown name": (
        lambda m: refused(m, {**model(5), "b": np.zeros(1)}),
        "its reply has an unknown array 'b'",
    ),
    "no arrays": (lambda m: answer(m, num_examples=1), "its reply lacks array 'counter'"),
    "shape": (
        lambda m: refused(m, {**model(5), "w": np.ones((3, 2), np.float32)}),
        "its array 'w' is float32 (3, 2), not float32 (2, 3)",
    ),
    "dtype": (
        lambda m: refused(m, {**model(5), "w": np.ones((2, 3))}),
        "its array 'w' is float64 (2, 3), not float32 (2, 3)",
    ),
    "dtype of a counter": (
        lambda m: refused(m, {**model(5), "counter": np.array(0.0)}),
        "its array 'counter' is float64 (), not int64 ()",
    ),
    "NaN": (lambda m: refused(m, with_nan), "its array 'w' holds NaN or infinity"),
    "infinity": (lambda m: refused(m, with_inf), "its array 'w' holds NaN or infinity"),
    "no metrics": (
        lambda m: Message(RecordDict({"arrays": to_record(model(5))}), reply_to=m),
        "its reply has no record 'metrics'",
    ),
    "a wrong record": (
        lambda m: Message(
            RecordDict({"arrays": MetricRecord(), "metrics": MetricRecord({"num-examples": 1})}),
            reply_to=m,
        ),
        "its record 'arrays' holds no arrays",
    ),
    "no count": (lambda m: answer(m, model(5), loss=1.0), "its num-examples is None, not a count"),
    "negative count": (
        lambda m: refused(m, model(5), num_examples=-1),
        "its num-examples is -1, not a count",
    ),
    "half an example": (
        lambda m: refused(m, model(5), num_examples=0.5),
        "its num-examples is 0.5, not a count",
    ),
}


@pytest.mark.parametrize("weights", ["equal", "examples"])
@pytest.mark.parametrize("bad, reason", FAULTS.values(), ids=FAULTS)
def test_a_reply_that_does_not_fit_is_refused_and_the_round_goes_on(
    bad: Callable[[Message], Message | None], reason: str, weights: str
) -> None:
    """The mean is that of the others, (1 + 6)/2; in the middle, where an order would break."""
    strategy = Averaging(clients=CLIENTS, min_replies=2, aggregation_weights=weights)
    sent = ask(strategy, model(0))
    replies = [bad(sent[1]), refused(sent[2], model(6, 2)), refused(sent[0], model(1, 3))]
    found = average(strategy, [reply for reply in replies if reply is not None])
    assert_same_bits(found, model(3.5, 3))
    assert strategy.replies.failures == {"client-1": reason}
    assert [reply.client for reply in strategy.replies.accepted] == ["client-0", "client-2"]


def test_an_array_that_lies_about_itself_is_refused() -> None:
    strategy = Averaging(clients=CLIENTS, min_replies=2)
    sent = ask(strategy, model(0))
    replies = [refused(message, model(2)) for message in sent]
    received_by(replies[0])["w"].data = b"\x80\x04 a pickle"
    assert_same_bits(average(strategy, replies), model(2))
    assert strategy.replies.failures["client-0"].startswith("w ")


def test_an_answer_to_another_round_is_not_looked_at() -> None:
    strategy = Averaging(clients=CLIENTS, min_replies=3)
    stale = refused(ask(strategy, model(0))[0], model(1000))
    stale.metadata.__dict__["_reply_to_message_id"] = "message of an earlier round"
    replies = [refused(message, model(2)) for message in ask(strategy, model(0))]
    assert_same_bits(average(strategy, [*replies, stale]), model(2))


def test_too_few_replies_name_the_clients_and_the_causes() -> None:
    strategy = Averaging(clients=CLIENTS, min_replies=2, rounds_done=4)
    sent = ask(strategy, model(0), number=3)
    replies = [refused(sent[0], model(1)), refused(sent[2], with_nan)]
    with pytest.raises(TooFewReplies) as caught:
        strategy.aggregate_train(3, iter(replies))
    assert str(caught.value) == (
        "round 7: 1 of 3 clients answered, but min-replies = 2 "
        '(client-1: "gave no answer in time"; client-2: "its array \'w\' holds NaN or infinity")'
    )


@pytest.mark.parametrize(
    "reason, said",
    [
        ("Traceback\n  File x\nDataError: no images", "DataError: no images"),
        ("...\nException ClientAppException occurred. Message: no images'>", "no images"),
        ("<class 'data_partition.errors.DataError'>:<'no images'>", "no images"),
        ("refused by hospital-b: no images", "refused by hospital-b: no images"),
        ("", "it gave no reason"),
    ],
)
def test_a_cause_is_what_the_app_said_and_nothing_of_flowers(reason: str, said: str) -> None:
    """From a process, from a simulation, and from a site."""
    assert cause(reason) == said


def test_nobody_at_all_is_too_few() -> None:
    strategy = Averaging(clients=CLIENTS)
    ask(strategy, model(0))
    with pytest.raises(TooFewReplies, match=r"^round 1: 0 of 3 clients answered"):
        strategy.aggregate_train(1, iter([]))


def test_finite_weights_whose_mean_is_not_have_diverged() -> None:
    """Twice float32's largest number overflows, and no client alone is to blame."""
    strategy = Averaging(clients=CLIENTS)
    largest = model(float(np.finfo(np.float32).max))
    with (
        np.errstate(over="ignore"),
        pytest.raises(TooFewReplies, match="overflows: the training has diverged"),
    ):
        round_of(strategy, largest, largest, largest)
