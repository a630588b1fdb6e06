"""A site's own policy on replies, and the messages it knows."""

from typing import Any

import pytest

from fl_client.site.policy import Policy
from fl_client.site.reply_rules import check_policy, check_request
from strategies.layout import Layout, Signature
from strategies.refusal import Refused
from strategies.reply_form import Content

POLICY = Policy()
WEIGHT: Signature = {"weight": ("float32", (2, 3))}


def request(**arrays: Signature) -> Content:
    configs: dict[str, dict[str, Any]] = {"config": {}, "layout": dict(Layout(WEIGHT).record())}
    return Content(configs=configs, arrays=arrays)


@pytest.mark.parametrize("number, leaves", [(0, True), (1, False), (9, False), (10, True)])
@pytest.mark.parametrize("key", ["num-test", "num-examples", "validation-examples"])
def test_fewer_images_than_the_policy_wants_are_not_told(
    key: str, number: int, leaves: bool
) -> None:
    """None at all says nothing of anybody, and min-examples = 10, the default, are enough."""
    metrics = {"threads": 2, "num-train": 60, key: number}
    if leaves:
        check_policy(metrics, POLICY)
    else:
        with pytest.raises(Refused, match="fewer than 10 images"):
            check_policy(metrics, POLICY)


def test_a_message_whose_arrays_are_as_its_layout_says_is_known() -> None:
    check_request("train", request(arrays={"float32": ("float32", (6,))}))
    check_request("query", Content(configs={"config": {}}))
    with pytest.raises(Refused):
        check_request("query", Content())


@pytest.mark.parametrize(
    "kind, content, said",
    [
        ("query.images", request(), "not known here"),
        ("train", request(arrays={"float32": ("float32", (7,))}), "not as its layout says"),
        ("train", request(arrays=WEIGHT), "not as its layout says"),
        ("train", request(test={}), "contains no arrays 'test'"),
        ("train", Content(), "not a config and arrays"),
        ("query", Content(configs={"config": {}}, metrics={"m": {}}), "not a config and arrays"),
    ],
)
def test_other_messages_are_not(kind: str, content: Content, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_request(kind, content)
