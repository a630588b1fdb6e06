"""Replies made from the declared forms, valid or broken in one field, for hypothesis."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from strategies.expected_replies import Announced, form_of
from strategies.field_kinds import (
    MAX_CLASSES,
    MAX_TEXT,
    Count,
    Counts,
    Flag,
    Kind,
    PackedCounts,
    Real,
    Reals,
    Sha256,
    Text,
    Texts,
)
from strategies.histograms import FIELDS
from strategies.layout import Layout, Signature
from strategies.reply_form import Content, ReplyForm
from strategies.temperature_losses import FIELD as TEMPERATURE_LOSSES
from training.score_counts import Answers
from training.temperature import temperature_losses

# Two classes; every client has 60, 20 and 20 images.
ANNOUNCED = Announced(2, {"train": 60, "validation": 20, "test": 20}, by_patient=True)
WEIGHTS: Signature = {"weight": ("float32", (2, 3)), "counter": ("int64", ())}
EXPERIMENT = 'wire-format = "float32"\nheads = "knn,svm"\n'
NUM_TEST_IMAGES = 5


class Asked(NamedTuple):
    """A kind of message and its settings."""

    kind: str
    settings: Mapping[str, Any]

    def request(self) -> Content:
        config = {"experiment": EXPERIMENT, "run": "0" * 32, **self.settings}
        content = Content(configs={"config": config})
        if self.kind != "query":
            content.configs["layout"] = dict(Layout(WEIGHTS).record())
            content.arrays["arrays"] = Layout(WEIGHTS).flat_signature()
        if self.kind == "query.heads":
            content.arrays["test"] = {"features": ("float32", (NUM_TEST_IMAGES, 8))}
        return content

    def form(self, announced: Announced | None = ANNOUNCED) -> ReplyForm:
        return form_of(self.kind, self.request(), announced)


ASKED = {
    "introduction": Asked("query", {}),
    "introduction with class counts": Asked("query", {"experiment": 'class-counts = "federation"'}),
    "first round": Asked("train", {"round": 1}),
    "later round": Asked("train", {"round": 4}),
    "judging": Asked("evaluate", {"splits": "validation,test", "round": 4}),
    "heads": Asked("query.heads", {}),
}

# Text that no terminal, table or log should ever get; long, with escapes, with controls that turn
# the direction of writing; and every other type that a record of Flower's can hold.
HOSTILE_TEXT = st.one_of(
    st.just("a" * (MAX_TEXT + 1)),
    st.just("x" * 500_000),
    st.just("\x1b]0;owned\x07\x1b[2J"),
    st.just("two\nlines"),
    st.just("\u202eeman"),
    st.just(""),
)
# A record of settings and one of metrics may hold these.
OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.sampled_from([-1, 2**62, 10**15, -(10**15), 17]),
    "real": st.sampled_from([float("nan"), float("inf"), -float("inf"), -0.5, 1e300]),
    "flag": st.booleans(),
    "text": HOSTILE_TEXT,
    "bytes": st.binary(max_size=20),
    "list": st.lists(st.integers(-(10**15), 10**15), max_size=40),
    "texts": st.lists(HOSTILE_TEXT, max_size=MAX_CLASSES + 2),
}


def values_of(kind: Kind) -> st.SearchStrategy[Any]:
    """Values that a field admits."""
    match kind:
        case Count(most, least):
            return st.integers(least, most)
        case Real(most):
            return st.floats(0, most)
        case Counts(lengths, most):
            return st.sampled_from(lengths).flatmap(
                lambda n: st.lists(st.integers(0, most), min_size=n, max_size=n)
            )
        case PackedCounts():
            return st.just([])  # `honest` has others
        case Reals(length, most):
            return st.lists(st.floats(0, most), min_size=length, max_size=length)
        case Text():
            return st.text("abcdefgäé0123 -_", min_size=1, max_size=MAX_TEXT)
        case Texts():
            return st.lists(st.text("abcxyz", min_size=1), min_size=1, max_size=4, unique=True)
        case Sha256():
            return st.text("0123456789abcdef", min_size=64, max_size=64)
        case Flag():
            return st.booleans()


def wrong_for(kind: Kind) -> st.SearchStrategy[Any]:
    """Values that a field does not admit."""
    return st.one_of(*OTHERS.values()).filter(lambda value: not kind.admits(value))


@st.composite
def honest(draw: st.DrawFn, form: ReplyForm) -> Content:
    """A reply of a form with consistent counts."""
    metrics = {key: draw(values_of(kind)) for key, kind in form.metrics.items()}
    for split in form.splits:
        # A site does not know how many there are: of millions the histograms would take seconds.
        examples = metrics[f"{split}-examples"] = min(metrics[f"{split}-examples"], 2_000)
        metrics[f"{split}-confusion"] = draw(partitions(examples, 4))
        metrics[f"{split}-patient-confusion"] = draw(
            partitions(draw(st.integers(min(1, examples), examples)), 4)
        )
        seed = draw(st.none() | st.integers(0, 2**32))
        asked = f"{split}-{TEMPERATURE_LOSSES}" in form.metrics
        of_split = histograms(metrics[f"{split}-confusion"], seed or 0, losses=asked)
        for name, value in of_split.items():
            metrics[f"{split}-{name}"] = value
            if seed is None:
                del metrics[f"{split}-{name}"]
    if form.splits and "train-loss" not in metrics:
        metrics["num-examples"] = sum(metrics[f"{split}-examples"] for split in form.splits)
    for key in form.optional & metrics.keys():
        if not key.endswith((*FIELDS, TEMPERATURE_LOSSES)) and draw(st.booleans()):
            del metrics[key]
    content = Content(
        metrics={"metrics": metrics}, arrays={k: dict(v) for k, v in form.arrays.items()}
    )
    if form.client:
        client = {key: draw(values_of(kind)) for key, kind in form.client.items()}
        content.configs["client"] = client
    return content


def histograms(confusion: list[int], seed: int, *, losses: bool = False) -> dict[str, Any]:
    """The histograms of two classes' random probabilities that give a confusion matrix.

    Args:
        losses: whether the losses at each temperature are there, too.
    """
    labels, predicted = np.indices((2, 2)).reshape(2, -1).repeat(confusion, axis=1)
    confidence = np.random.default_rng(seed).uniform(0.51, 1, len(labels))
    probabilities = np.where(
        predicted[:, None] == [0, 1], confidence[:, None], 1 - confidence[:, None]
    )
    answers = Answers(probabilities, labels)
    counts = answers.counts(exact=False)
    assert counts.histograms is not None
    fields = counts.histograms.to_fields()
    return fields | ({TEMPERATURE_LOSSES: temperature_losses(answers).tolist()} if losses else {})


@st.composite
def partitions(draw: st.DrawFn, total: int, parts: int) -> list[int]:
    """Counts that sum to a total."""
    cuts = sorted(draw(st.integers(0, total)) for _ in range(parts - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]


@st.composite
def broken(draw: st.DrawFn, form: ReplyForm) -> tuple[str, Content]:
    """A reply that breaks a form in one place, and the name of that field."""
    reply = draw(honest(form))
    fields: dict[str, tuple[dict[str, Any], Kind]] = {
        key: (reply.metrics["metrics"], kind) for key, kind in form.metrics.items()
    }
    if form.client:
        fields |= {key: (reply.configs["client"], kind) for key, kind in form.client.items()}
    how = draw(st.sampled_from(["wrong", "missing", "unknown", "record", "arrays", "sum"]))
    if how == "sum" and form.splits:
        split = draw(st.sampled_from(form.splits))
        reply.metrics["metrics"][f"{split}-confusion"] = [0, 0, 0, 0]
        return f"{split}-confusion", reply
    if how == "arrays" and form.arrays:
        shapes = reply.arrays["arrays"]
        name = draw(st.sampled_from(sorted(shapes)))
        shapes[name] = (draw(st.sampled_from(["float64", "object"])), shapes[name][1])
        return name, reply
    if how == "record":
        target = draw(st.sampled_from([reply.configs, reply.metrics, reply.arrays]))
        target["patients"] = {}
        return "patients", reply
    if how == "unknown":
        (reply.configs["client"] if form.client else reply.metrics["metrics"])["patients"] = 1
        return "patients", reply
    if how == "missing":
        key = draw(st.sampled_from(sorted(fields.keys() - form.optional)))
        del fields[key][0][key]
        return key, reply
    key = draw(st.sampled_from(sorted(fields)))
    values, kind = fields[key]
    values[key] = draw(wrong_for(kind))
    return key, reply
