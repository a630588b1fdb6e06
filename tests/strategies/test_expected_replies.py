"""The declared replies to each message: valid replies pass, others are refused by name."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategies.expected_replies import Announced, form_of
from strategies.field_kinds import MAX_CLASSES, Counts
from strategies.layout import Signature
from strategies.refusal import Refused
from strategies.reply_form import Content
from tests.strategies.replies_of_forms import (
    ANNOUNCED,
    ASKED,
    EXPERIMENT,
    Asked,
    broken,
    histograms,
    honest,
)

quick = settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
every_message = st.sampled_from(sorted(ASKED)).map(ASKED.get)


@quick
@given(st.data())
def test_what_is_made_from_the_form_passes_at_the_coordinator_and_at_the_site(
    data: st.DataObject,
) -> None:
    """The coordinator knows the client's introduction, the site's guard does not."""
    asked = data.draw(every_message)
    reply = data.draw(honest(asked.form()))
    for form in (asked.form(), asked.form(None)):
        form.check(reply)
        with pytest.raises(Refused):
            form.check(Content())


@quick
@given(st.data())
def test_what_breaks_one_field_is_refused_by_its_name(data: st.DataObject) -> None:
    """Only `Refused` is raised, whatever the field contains."""
    form = data.draw(every_message).form()
    name, reply = data.draw(broken(form))
    with pytest.raises(Refused) as refused:
        form.check(reply)
    assert name in refused.value.whole
    assert len(refused.value.reason) < 300


@settings(quick, max_examples=20)
@given(st.data())
def test_a_refusal_tells_the_coordinator_nothing_that_the_reply_holds(data: st.DataObject) -> None:
    """A guard's reason travels; its detail is for the site's own records."""
    form = data.draw(every_message).form(None)
    _, reply = data.draw(broken(form))
    reply.metrics["metrics"]["patient 4711"] = 1
    with pytest.raises(Refused) as refused:
        form.check(reply)
    assert "4711" not in refused.value.reason


def reply_to(asked: Asked, **changes: Any) -> Content:
    """A valid reply of an announced client, with some metrics replaced; None leaves one out."""
    metrics: dict[str, Any] = {"num-examples": 60}
    if asked.kind == "query":
        metrics = {"num-train": 60, "num-validation": 20, "num-test": 20, "threads": 2}
    if asked.kind == "train":
        metrics |= {"train-loss": 0.5, "optimizer-round": 0, "seconds-message": 1.0}
    for split in asked.form().splits:
        figures = {"loss": 0.3, "confusion": [9, 3, 2, 6], "examples": 20}
        losses = asked.kind == "evaluate" and split == "validation"
        figures |= histograms([9, 3, 2, 6], seed=0, losses=losses)
        metrics |= {f"{split}-{key}": value for key, value in figures.items()}
    if asked.kind == "evaluate":
        metrics["num-examples"] = 40
    if asked.kind == "query.heads":
        metrics |= {"knn-predicted": [0, 1, 1, 0, 0], "svm-predicted": [0] * 5}
    for key, value in changes.items():
        metrics[key.replace("_", "-")] = value
    present = {key: value for key, value in metrics.items() if value is not None}
    content = Content(metrics={"metrics": present})
    content.arrays = {name: dict(arrays) for name, arrays in asked.form().arrays.items()}
    if asked.kind == "query":
        content.configs["client"] = {
            "name": "hospital-a",
            "classes": ["MEL", "NV"],
            "dataset": "ham10000",
            "fingerprint": "0" * 64,
            "device": "cpu",
            "synthetic": False,
        }
    return content


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_an_honest_reply_passes(asked: Asked) -> None:
    asked.form().check(reply_to(asked))
    with pytest.raises(Refused):
        asked.form().check(Content())


NAN, INFINITY = float("nan"), float("inf")
ATTACKS: list[tuple[str, dict[str, Any]]] = [
    ("later round", {"validation_confusion": None}),
    ("later round", {"validation_confusion": [9, 3, 2]}),  # no square
    ("later round", {"validation_confusion": [0] * 9}),  # three classes, the run has two
    ("later round", {"validation_confusion": [0] * 17**2}),
    ("later round", {"validation_confusion": [20.0, 0.0, 0.0, 0.0]}),
    ("later round", {"validation_confusion": [26, -6, 0, 0]}),
    ("later round", {"validation_confusion": [10**15, 0, 0, 0]}),
    ("later round", {"validation_confusion": [9, 3, 2, 5]}),  # 19 of 20
    ("later round", {"validation_confusion": [9, 3, 2, 7]}),
    ("later round", {"validation_confusion": 20}),
    ("later round", {"validation_patient_confusion": [9, 3, 2, 7]}),
    ("later round", {"validation_patient_confusion": [0, 0, 0, 0]}),  # of 20 images
    ("later round", {"validation_loss": None}),
    ("later round", {"validation_loss": NAN}),
    ("later round", {"validation_loss": 1}),
    ("later round", {"validation_examples": 21, "validation_confusion": [10, 3, 2, 6]}),
    ("later round", {"validation_probabilities": None}),  # the other histograms are there
    ("later round", {"validation_probabilities": [0, 0]}),
    ("later round", {"validation_probabilities": [10**9, 1]}),
    ("later round", {"validation_probabilities": [5.5, 1]}),
    ("later round", {"validation_probabilities": [5, 20, 3]}),
    ("later round", {"validation_confidence": [20, 0] * 15}),
    ("later round", {"validation_confidence_sums": [NAN] * 15}),
    ("later round", {"validation_confidence_sums": [0.0] * 14}),
    ("later round", {"validation_squared_error": NAN}),
    ("later round", {"validation_squared_error": 40.5}),
    ("later round", {"validation_squared_error": None}),
    ("later round", {"train_loss": None}),
    ("later round", {"train_loss": NAN}),
    ("later round", {"train_loss": INFINITY}),
    ("later round", {"train_loss": -1.0}),
    ("later round", {"train_loss": 1e300}),
    ("later round", {"train_loss": [0.5] * 1000}),
    ("later round", {"num_examples": 0}),
    ("later round", {"num_examples": -60}),
    ("later round", {"num_examples": 59}),  # another number than the client introduced itself with
    ("later round", {"num_examples": 10**15}),
    ("later round", {"num_examples": 60.0}),
    ("later round", {"num_examples": True}),
    ("later round", {"optimizer_round": 4}),  # that of the round itself, before it is over
    ("later round", {"seconds_message": None}),
    ("later round", {"seconds_message": INFINITY}),
    ("later round", {"seconds_message": -1.0}),
    ("later round", {"num_bytes": 1}),  # which the server itself adds
    ("first round", {"validation_loss": 0.5}),  # which is not asked for yet
    ("judging", {"num_examples": 39}),
    ("judging", {"test_loss": None}),
    ("judging", {"validation_temperature_losses": None}),  # the histograms are there
    ("judging", {"validation_temperature_losses": [0.5] * 48}),
    ("judging", {"validation_temperature_losses": [NAN] * 49}),
    ("judging", {"validation_temperature_losses": [1e6] * 49}),
    ("judging", {"validation_temperature_losses": [1.0] * 20 + [2.0] + [1.0] * 28}),
    ("judging", {"test_examples": 10**9}),
    ("heads", {"knn_predicted": [0, 1]}),
    ("heads", {"knn_predicted": [0, 1, 2, 0, 0]}),  # a third class
    ("heads", {"knn_predicted": [0, 1, -1, 0, 0]}),
    ("heads", {"knn_predicted": 3}),
    ("heads", {"knn_predicted": None}),
    ("heads", {"rf_predicted": [0, 1, 1, 0, 0]}),  # which was not requested
    ("introduction", {"num_train": -1}),
    ("introduction", {"num_train": 10**15}),
    ("introduction", {"num_train": None}),
    ("introduction", {"threads": 0}),
    ("introduction", {"threads": 10**9}),
]


@pytest.mark.parametrize("message, metrics", ATTACKS)
def test_figures_that_would_end_a_run_or_spoil_it_are_refused(
    message: str, metrics: dict[str, Any]
) -> None:
    asked = ASKED[message]
    with pytest.raises(Refused) as refused:
        asked.form().check(reply_to(asked, **metrics))
    assert any(key.replace("_", "-") in refused.value.whole for key in metrics)


@pytest.mark.parametrize(
    "key, value",
    [
        ("name", "a" * 201),
        ("name", ""),
        ("name", b"bytes"),
        ("name", "hospital\x1b[2J"),
        ("device", "cpu\n4711"),
        ("device", "\u202eupc"),
        ("classes", [f"class {n}" for n in range(MAX_CLASSES + 1)]),
        ("classes", ["a" * 201]),
        ("classes", ["MEL", "MEL"]),
        ("classes", []),
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
    asked = ASKED["introduction"]
    reply = reply_to(asked)
    reply.configs["client"][key] = value
    with pytest.raises(Refused) as refused:
        asked.form().check(reply)
    assert key in refused.value.whole


# What answers {"weight": ("float32", (2, 3)), "counter": int64}, end to end; int8 has a scale for
# each of two rows.
ANSWERS: dict[str, Signature] = {
    "float32": {"float32": ("float32", (6,)), "int64": ("int64", (1,))},
    "bfloat16": {"uint16": ("uint16", (6,)), "int64": ("int64", (1,))},
    "int8": {"int8": ("int8", (6,)), "float32": ("float32", (2,)), "int64": ("int64", (1,))},
}


@pytest.mark.parametrize("wanted", ANSWERS)
@pytest.mark.parametrize("sent", [*ANSWERS, "a third scale"])
def test_an_update_comes_in_the_format_that_was_asked_for(wanted: str, sent: str) -> None:
    asked = ASKED["first round"]
    request = asked.request()
    request.configs["config"]["experiment"] = EXPERIMENT.replace("float32", wanted)
    reply = reply_to(asked)
    more: Signature = {"float32": ("float32", (3,))}
    reply.arrays["arrays"] = ANSWERS.get(sent) or ANSWERS["int8"] | more
    form = form_of("train", request, ANNOUNCED)
    if sent == wanted:
        form.check(reply)
    else:
        with pytest.raises(Refused, match="its arrays differ from those asked for"):
            form.check(reply)


def test_a_client_with_fewer_than_two_training_images_trains_nothing() -> None:
    """Whatever it states: the mean loss is weighted by the number of training images."""
    asked = ASKED["first round"]
    for number in (0, 1):
        form = asked.form(
            Announced(2, {"train": number, "validation": 0, "test": 0}, by_patient=True)
        )
        with pytest.raises(Refused, match="num-examples"):
            form.check(reply_to(asked, num_examples=number))


def test_nobody_sends_patients_where_the_data_set_knows_none() -> None:
    """Otherwise one site's patients would be the whole run's, in a data set without any."""
    reply = reply_to(ASKED["judging"], test_patient_confusion=[3, 0, 0, 2])
    ASKED["judging"].form().check(reply)
    form = ASKED["judging"].form(replace(ANNOUNCED, by_patient=False))
    with pytest.raises(Refused, match="not declared") as refused:
        form.check(reply)
    assert "test-patient-confusion" in refused.value.whole
    form.check(reply_to(ASKED["judging"]))


def test_a_site_that_knows_no_classes_still_bounds_them() -> None:
    form = ASKED["judging"].form(None)
    kind = form.metrics["test-confusion"]
    assert isinstance(kind, Counts)
    assert max(kind.lengths) == MAX_CLASSES**2


@pytest.mark.parametrize(
    "kind, config",
    [
        ("query.images", {}),
        ("train", {"experiment": 'wire-format = "float8"'}),
        ("train", {"experiment": "[[["}),
    ],
)
def test_a_message_that_cannot_be_answered_is_said_to_be_that(kind: str, config: dict) -> None:
    with pytest.raises(Refused, match=r"^(messages of type|the message)"):
        form_of(kind, Content(configs={"config": config}))


def of_fednova(**metrics: Any) -> Content:
    asked = Asked("train", {"round": 1})
    base = {"num-examples": 60, "train-loss": 0.5, "optimizer-round": 0, "seconds-message": 1.0}
    return Content(metrics={"metrics": base | metrics}, arrays=dict(asked.form().arrays))


@pytest.mark.parametrize(("steps", "known"), [(16, True), (15, False), (1, False), (10**6, False)])
def test_a_number_that_a_method_asks_for_is_what_the_announced_images_make(
    steps: int, known: bool
) -> None:
    """60 images in batches of eight are eight steps, in two epochs sixteen. A site's guard, which
    does not know the sizes, lets any count pass.
    """
    experiment = (
        EXPERIMENT
        + 'strategy = "fednova"\nlocal-epochs = 2\nbatch-size = 8\naccumulate-batches = 1\n'
    )
    asked = Asked("train", {"round": 1, "experiment": experiment})
    reply = of_fednova(**{"local-steps": steps})
    asked.form(None).check(reply)
    if known:
        asked.form().check(reply)
    else:
        with pytest.raises(Refused, match="its local-steps is not 16"):
            asked.form().check(reply)
    with pytest.raises(Refused, match="a key that is not declared"):
        Asked("train", {"round": 1}).form().check(reply)
    with pytest.raises(Refused, match="lack local-steps"):
        asked.form().check(of_fednova())


@pytest.mark.parametrize("strategy", ['"of mine"', "7", "[1]"])
def test_a_message_of_an_unknown_method_has_no_reply(strategy: str) -> None:
    asked = Asked("train", {"round": 1, "experiment": f"strategy = {strategy}"})
    with pytest.raises(Refused, match="asks for no known strategy"):
        asked.form()


def test_a_list_of_another_length_is_refused_with_the_length_that_it_needs() -> None:
    """One for each class, or for each pair of classes."""
    said = {
        str(kind)
        for asked in ASKED.values()
        for kind in asked.form(None).metrics.values()
        if isinstance(kind, Counts) and len(kind.lengths) > 1
    }
    assert {line.split(" whole numbers")[0] for line in said} == {"K", "K²"}
