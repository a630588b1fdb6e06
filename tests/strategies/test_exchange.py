"""What travels and what stays: layouts, messages, and what a site does not let in."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from strategies.exchange import LOCAL, LOCAL_LAYOUT, Exchange, arrays_of, check_what_travels
from strategies.layout import LAYOUT, Layout, LayoutError
from strategies.method import Method, carried_name
from strategies.methods import DEFAULT, METHODS
from strategies.refusal import Refused
from strategies.reply_form import Content
from tests.support import assert_same_bits

WEIGHTS = {
    "trunk.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bn.weight": np.ones(2, np.float32),
    "bn.running_mean": np.zeros(2, np.float32),
    "head.weight": np.full((3, 2), 2.0, np.float32),
}
TRAINED = ("trunk.weight", "bn.weight", "head.weight")
PLAIN = METHODS[DEFAULT]
C = carried_name("c", "trunk.weight")
AS_IT_IS = ("float32", (2, 3))
# Carries a kind c; keeps the head at the clients.
BOTH = replace(
    PLAIN,
    carried=("c",),
    server_init=lambda weights, _: {"c": np.full_like(weights, 0.5), "v": np.zeros_like(weights)},
    server_step=lambda now: (now.mean, {"c": now.carried["c"], "v": now.state["v"]}),
    local=lambda names: {name for name in names if name.startswith("head.")},
)


def exchange_of(method: Method) -> Exchange:
    return Exchange(method, {}, WEIGHTS, TRAINED)


def test_plain_weights_travel_as_they_are_and_nothing_else() -> None:
    exchange = exchange_of(PLAIN)
    assert exchange.train_layout is exchange.layout
    assert exchange.to_evaluate(exchange.first) is exchange.first
    assert exchange.constants().keys() == {LAYOUT}
    assert_same_bits(exchange.weights(exchange.first), WEIGHTS)
    assert exchange.server_state(exchange.first) == {}


def test_what_is_carried_and_what_stays_is_divided() -> None:
    exchange = exchange_of(BOTH)
    shared = {"trunk.weight", "bn.weight", "bn.running_mean"}
    carried = {"c/trunk.weight", "c/bn.weight"}
    assert exchange.layout.signature.keys() == shared
    assert exchange.train_layout.signature.keys() == shared | carried
    assert exchange.constants().keys() == {LAYOUT, LOCAL, LOCAL_LAYOUT}
    assert_same_bits(exchange.weights(exchange.first), WEIGHTS)
    state = exchange.server_state(exchange.first)
    assert state.keys() == carried | {"v/trunk.weight", "v/bn.weight"}
    assert state["c/trunk.weight"].tolist() == [[0.5] * 3] * 2


def test_arrays_travel_in_one_order_whatever_a_file_of_weights_has() -> None:
    """A resumed run begins with a file's; sums over all arrays are rounded by their order."""
    backwards = Exchange(BOTH, {}, dict(reversed(WEIGHTS.items())), TRAINED[::-1])
    for layout in ("layout", "train_layout"):
        names = list(getattr(backwards, layout).signature)
        assert names == list(getattr(exchange_of(BOTH), layout).signature)
    assert list(exchange_of(PLAIN).layout.signature) == sorted(WEIGHTS)


def test_a_message_holds_the_whole_model() -> None:
    exchange = exchange_of(BOTH)
    layout = {LAYOUT: exchange.train_layout.record()}
    content = RecordDict({**exchange.constants(), **layout, "arrays": exchange.first})
    found = arrays_of(content)
    assert_same_bits({name: found[name] for name in WEIGHTS}, WEIGHTS)
    assert found.keys() - WEIGHTS.keys() == {"c/trunk.weight", "c/bn.weight"}
    del content[LOCAL_LAYOUT]
    with pytest.raises(LayoutError):
        arrays_of(content)
    del content["arrays"]
    with pytest.raises(LayoutError, match="the record 'arrays' is missing"):
        arrays_of(content)


def test_what_is_carried_is_not_sent_to_be_evaluated() -> None:
    exchange = exchange_of(BOTH)
    sent = exchange.to_evaluate(exchange.first)
    assert len(exchange.first) == 0  # its memory is freed
    assert exchange.layout.views(sent).keys() == exchange.layout.signature.keys()
    assert_same_bits(exchange.evaluated(sent), WEIGHTS)
    assert_same_bits(exchange.evaluated(exchange.pack(WEIGHTS)), WEIGHTS)


def request(method: Method, **changes: tuple[str, tuple[int, ...]] | None) -> Content:
    """A training message, with arrays of its layout changed, added, or left out."""
    exchange = exchange_of(method)
    plan: dict[str, Any] = {**exchange.train_layout.signature, **changes}
    configs = {
        name: dict(record)
        for name, record in exchange.constants().items()
        if name.endswith("layout")
    }
    kept = {name: array for name, array in plan.items() if array is not None}
    configs[LAYOUT] = dict(Layout(kept).record())
    return Content(configs=configs)


@pytest.mark.parametrize("method", [PLAIN, BOTH], ids=["plain", "both"])
def test_a_site_lets_in_what_the_method_declares(method: Method) -> None:
    asked = request(method)
    check_what_travels(method, asked)
    assert (C in asked.configs[LAYOUT]["names"]) == bool(method.carried)


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        (BOTH, {"head.weight": ("float32", (3, 2))}, "asks for what stays at clients"),
        (PLAIN, {C: AS_IT_IS}, "sends what FedAvg does not carry"),
        (BOTH, {"d/trunk.weight": AS_IT_IS}, "does not carry"),
        (BOTH, {"c/images": AS_IT_IS}, "does not carry"),
        (BOTH, {C: ("float32", (6,))}, "does not carry"),
        (BOTH, {C: ("float32", (2, 300000))}, "does not carry"),
    ],
)
def test_a_site_does_not_let_in_anything_else(
    method: Method, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        check_what_travels(method, request(method, **changes))


@pytest.mark.parametrize("missing", [LAYOUT, LOCAL_LAYOUT])
def test_a_damaged_layout_is_refused(missing: str) -> None:
    damaged = request(BOTH)
    damaged.configs[missing] = {"names": ["w"]}
    with pytest.raises(Refused, match="missing or damaged"):
        check_what_travels(BOTH, damaged)
