"""What may leave, message type by message type."""

from typing import Any

import pytest

from fl_client.site.refusal import Refused
from fl_client.site.reply_rules import Content, check_reply, check_request
from strategies.layout import Layout, Signature

MIN_EXAMPLES = 10
CLIENT = {
    "name": "hospital-a",
    "classes": ["MEL", "NV"],
    "dataset": "ham10000",
    "fingerprint": "0" * 64,
    "device": "cpu",
    "synthetic": False,
}
SIZES = {"num-train": 60, "num-validation": 20, "num-test": 20, "threads": 2}
# Two classes: 9 + 3 + 2 + 6 = 20 images.
WEIGHT: Signature = {"weight": ("float32", (2, 3))}
TEST = {"test-loss": 0.3, "test-confusion": [9, 3, 2, 6], "test-examples": 20}


def request(kind: str, **config: Any) -> Content:
    content = Content(configs={"config": config})
    if kind != "query":
        content.configs["layout"] = dict(Layout(WEIGHT).record())
        content.arrays["arrays"] = {"float32": ("float32", (6,))}
    if kind == "query.heads":
        content.arrays["test"] = {"features": ("float32", (3, 768))}
    check_request(kind, content)
    return content


def introduction(client: dict | None = None, **sizes: Any) -> Content:
    return Content(configs={"client": client or CLIENT}, metrics={"metrics": {**SIZES, **sizes}})


def counted(**metrics: Any) -> Content:
    named = {key.replace("_", "-"): value for key, value in metrics.items()}
    return Content(metrics={"metrics": {"num-examples": 20, **TEST, **named}})


def may_leave(kind: str, asked: Content, reply: Content) -> bool:
    try:
        check_reply(kind, asked, reply, MIN_EXAMPLES)
    except Refused:
        return False
    return True


def test_an_introduction_of_the_declared_form_leaves() -> None:
    assert may_leave("query", request("query"), introduction())
    assert may_leave("query", request("query"), introduction({**CLIENT, "base": "0" * 64}))


@pytest.mark.parametrize(
    "key, value",
    [
        ("name", "a" * 201),
        ("name", b"bytes"),
        ("device", "cpu\n4711"),
        ("classes", ["a"] * 17),
        ("classes", ["a" * 201]),
        ("classes", "MEL"),
        ("fingerprint", "0" * 63),
        ("fingerprint", "G" * 64),
        ("base", "0" * 63),
        ("base", 0),
        ("synthetic", 1),
        ("patient", "4711"),
    ],
)
def test_an_introduction_says_nothing_else(key: str, value: Any) -> None:
    with pytest.raises(Refused, match="introduction holds what is not declared"):
        check_reply("query", request("query"), introduction({**CLIENT, key: value}), MIN_EXAMPLES)


# What answers {"weight": ("float32", (2, 3))}, end to end; int8 has a scale for each of two rows.
ANSWERS: dict[str, Signature] = {
    "float32": {"float32": ("float32", (6,))},
    "bfloat16": {"uint16": ("uint16", (6,))},
    "int8": {"int8": ("int8", (6,)), "float32": ("float32", (2,))},
}


@pytest.mark.parametrize("asked", ANSWERS)
@pytest.mark.parametrize("sent", ANSWERS)
def test_an_update_leaves_in_the_format_that_was_asked_for(asked: str, sent: str) -> None:
    reply = Content(metrics={"metrics": {"num-examples": 60}}, arrays={"arrays": ANSWERS[sent]})
    wanted = request("train", experiment=f'wire-format = "{asked}"')
    if sent == asked:
        check_reply("train", wanted, reply, MIN_EXAMPLES)
    else:
        with pytest.raises(Refused, match="its arrays differ from those asked for"):
            check_reply("train", wanted, reply, MIN_EXAMPLES)


def test_scales_bring_nothing_along() -> None:
    """One for each of the two channels, where a third might be anything."""
    arrays = ANSWERS["int8"] | {"float32": ("float32", (3,))}
    reply = Content(metrics={"metrics": {"num-examples": 60}}, arrays={"arrays": arrays})
    with pytest.raises(Refused, match="its arrays differ") as refusal:
        check_reply(
            "train", request("train", experiment='wire-format = "int8"'), reply, MIN_EXAMPLES
        )
    assert "float32" in refusal.value.whole


@pytest.mark.parametrize("number, leaves", [(0, True), (1, False), (9, False), (10, True)])
def test_fewer_images_than_the_policy_wants_are_not_told(number: int, leaves: bool) -> None:
    """None at all says nothing of anybody, and min-examples = 10 are enough."""
    reply = introduction(**{"num-test": number})
    if leaves:
        check_reply("query", request("query"), reply, MIN_EXAMPLES)
    else:
        with pytest.raises(Refused, match="fewer than 10 images"):
            check_reply("query", request("query"), reply, MIN_EXAMPLES)


def test_an_evaluation_tells_of_the_splits_that_were_asked_for() -> None:
    check_reply("evaluate", request("evaluate", splits="test"), counted(), MIN_EXAMPLES)
    check_reply("evaluate", request("evaluate", splits="validation,test"), counted(), MIN_EXAMPLES)
    with pytest.raises(Refused, match="a key that is not declared"):
        check_reply("evaluate", request("evaluate", splits="validation"), counted(), MIN_EXAMPLES)


@pytest.mark.parametrize(
    "metrics, said",
    [
        ({"test_confusion": [9, 3, 2]}, "not of the declared kind"),  # no square
        ({"test_confusion": [0] * 17**2}, "not of the declared kind"),  # 17 classes
        ({"test_confusion": [9, 3, 2, -6]}, "not of the declared kind"),
        ({"test_confusion": [9.0, 3.0, 2.0, 6.0]}, "not of the declared kind"),
        ({"test_confusion": [9, 3, 2, 7]}, "does not count"),
        ({"test_confusion": [9, 3, 2, 5]}, "does not count"),
        ({"test_patient_confusion": [9, 3, 2, 7]}, "does not count"),
        ({"test_examples": 9, "test_confusion": [9, 0, 0, 0]}, "fewer than 10 images"),
        ({"test_loss": 1}, "not of the declared kind"),
        ({"seconds_4711": 0.1}, "a key that is not declared"),
        ({"num_examples": 20.0}, "not of the declared kind"),
        ({"num_examples": True}, "not of the declared kind"),
    ],
)
def test_counts_are_counts(metrics: dict, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_reply(
            "evaluate", request("evaluate", splits="test"), counted(**metrics), MIN_EXAMPLES
        )


def test_fewer_patients_than_images_may_be_counted() -> None:
    asked = request("evaluate", splits="test")
    assert may_leave("evaluate", asked, counted(test_patient_confusion=[2, 1, 0, 3]))
    assert not may_leave("evaluate", asked, counted(test_patient_confusion=[9, 4, 2, 6]))


def test_an_evaluation_brings_no_arrays_back() -> None:
    reply = counted()
    reply.arrays["arrays"] = {"weight": ("float32", (2, 3))}
    with pytest.raises(Refused, match="not those declared"):
        check_reply("evaluate", request("evaluate", splits="test"), reply, MIN_EXAMPLES)


@pytest.mark.parametrize(
    "answer, leaves",
    [([0, 1, 15], True), ([0, 1], False), ([0, 1, 2, 3], False), ([0, 1, 16], False), (3, False)],
)
def test_heads_answer_with_a_class_for_each_row_that_came(answer: object, leaves: bool) -> None:
    """The test features have three rows, and there are 16 classes at most."""
    reply = Content(metrics={"metrics": {"num-examples": 60, "knn-predicted": answer}})
    if leaves:
        check_reply("query.heads", request("query.heads"), reply, MIN_EXAMPLES)
    else:
        with pytest.raises(Refused, match="not of the declared kind"):
            check_reply("query.heads", request("query.heads"), reply, MIN_EXAMPLES)


def test_a_refusal_tells_the_coordinator_nothing_that_the_reply_holds() -> None:
    with pytest.raises(Refused) as refusal:
        check_reply(
            "evaluate", request("evaluate", splits="test"), counted(patient_4711=1), MIN_EXAMPLES
        )
    assert "4711" not in refusal.value.reason
    assert "4711" in refusal.value.whole
