"""The table of bytes sent."""

from typing import Any

import pytest

from experiments.reporting.campaign_tables import traffic_table
from experiments.reporting.comparisons import compare, over_traffic
from experiments.reporting.tables import Table
from tests.experiments.reporting.made_ledger import ledger, row


def federated(avg: float, sent: float, received: float, **changes: Any) -> dict[str, Any]:
    """A trial of 10 rounds over 3 clients: 30 messages to them, and 30 replies."""
    travelled = {"bytes_sent": sent, "bytes_received": received}
    times = {"seconds": 2000.0, "seconds_transport": 1234.56, "seconds_waiting": 7.5}
    return row(avg, rounds=10, clients=3, **{**travelled, **times, **changes})


def table_of(*rows: dict[str, Any]) -> Table:
    (together,) = over_traffic(compare(ledger(*rows)))
    return traffic_table(together)


WHOLE = federated(80, sent=30e6, received=30e6)
PACKED = federated(78, sent=30e6, received=7.5e6, **{"wire-format": "int8"})


def test_bytes_are_shared_out_among_clients_and_rounds() -> None:
    """30 MB in 30 messages are 1 MB each, 7.5 MB are a quarter."""
    table = table_of(WHOLE, PACKED)
    assert table.title == "Communication · Federated classifier · HAM10000 · FedAvg · SGD"
    assert table.name == "federated-classifier-ham10000-fedavg-sgd-communication"
    assert table.cells.to_dict("list") == {
        "backbone": ["convnext_t"] * 2,
        "trainable": ["all"] * 2,
        "wire-format": ["float32", "int8"],
        "seeds": ["1"] * 2,
        "AVG": ["80.00", "78.00"],
        "MB to a client, a round": ["1.00", "1.00"],
        "MB from a client, a round": ["1.00", "0.250"],
        "MB altogether": ["60.00", "37.50"],
        "seconds of transport": ["1,234.6"] * 2,
        "seconds of waiting for a turn": ["7.5"] * 2,
        "seconds of all rounds": ["2,000.0"] * 2,
    }


def test_bytes_are_shared_out_among_the_clients_of_a_round() -> None:
    """2 of 3 in 10 rounds: 20 MB in 20 messages."""
    cells = table_of(federated(80, sent=20e6, received=10e6, **{"clients-per-round": 2})).cells
    assert cells["MB to a client, a round"].tolist() == ["1.00"]
    assert cells["MB from a client, a round"].tolist() == ["0.500"]


def test_bytes_of_pooled_training_are_of_the_one_client_that_has_all_images() -> None:
    """10 MB in 10 messages; of the three clients two are not asked."""
    cells = table_of(federated(80, sent=10e6, received=5e6, strategy="pooled")).cells
    assert cells["MB to a client, a round"].tolist() == ["1.00"]
    assert cells["MB from a client, a round"].tolist() == ["0.500"]


def test_the_highest_avg_and_the_fewest_bytes_are_the_best() -> None:
    best = table_of(WHOLE, PACKED).best
    assert best["AVG"].tolist() == [True, False]
    assert best["MB altogether"].tolist() == [False, True]
    assert best.sum().sum() == 2


def test_seeds_are_averaged_and_backbones_stand_in_the_studys_order() -> None:
    """Of 30 and 90 MB the mean is 60, 2 MB a message."""
    others = [federated(a, sent, 0, seed=s) for s, a, sent in ((0, 70, 30e6), (1, 74, 90e6))]
    table = table_of(federated(60, 3e6, 0, backbone="swin_b"), *others)
    assert table.cells["backbone"].tolist() == ["convnext_t", "swin_b"]
    assert table.cells["seeds"].tolist() == ["2", "1"]
    assert table.cells["AVG"].tolist() == ["72.00", "60.00"]
    assert table.cells["MB to a client, a round"].tolist() == ["2.00", "0.100"]


def test_ways_stand_in_the_order_of_the_config() -> None:
    ways = [("head", "float32"), ("all", "int8"), ("all", "bfloat16"), ("all", "float32")]
    rows = [federated(70, 3e6, 0, trainable=t, **{"wire-format": w}) for t, w in ways]
    cells = table_of(*rows).cells
    found = list(zip(cells["trainable"], cells["wire-format"], strict=True))
    assert found == [*reversed(ways[1:]), ways[0]]


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_images_are_said(synthetic: bool) -> None:
    table = table_of({**WHOLE, "synthetic": synthetic})
    assert ("SYNTHETIC" in table.markdown()) is synthetic
    assert not table.best.any().any()  # of a single row
