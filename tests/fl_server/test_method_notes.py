"""What a run says at its start of a method that does not take effect, or not as one may think."""

import pytest

from fl_server.federation import notes_on_method
from tests.support import BACKBONE, make_config


@pytest.mark.parametrize(
    ("strategy", "num_local", "min_replies", "said"),
    [
        ("fedbn", 0, 3, [f"FedBN: of {BACKBONE} nothing stays at the clients"]),
        (
            "fedbn",
            100,
            2,
            [
                "FedBN: 100 arrays stay at the clients, so there is no one model to be judged on a "
                "test set of the server's; each client's own is, on its test images"
            ],
        ),
        ("fedavg", 0, 2, []),
        ("scaffold", 0, 3, []),
        (
            "scaffold",
            0,
            2,
            [
                "SCAFFOLD: with 2 of 3 replies enough, a client that is absent keeps its control "
                "of the last round that counted, as in the paper"
            ],
        ),
    ],
)
def test_what_is_said(strategy: str, num_local: int, min_replies: int, said: list[str]) -> None:
    config = make_config(strategy=strategy, min_replies=min_replies, optimizer="sgd")
    assert notes_on_method(config, num_local) == said
