"""What a round sends with every method, objective, trained part and wire format.

The arrays are those of real networks, timm's smallest: a client returns them a little changed, the
reply has the form that was asked for, and the server takes its step from it.
"""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.exchange import LOCAL_LAYOUT, Exchange, check_what_travels
from strategies.expected_replies import form_of
from strategies.layout import LAYOUT
from strategies.method import is_carried
from strategies.methods import METHODS
from strategies.reply_form import Content
from strategies.wire_format import FORMATS, pack_record, unpack_record
from training.clip_text import ClipText
from training.config import ExperimentConfig, parse
from training.config_faults import shares_nothing
from training.network import sent_part
from training.task import Task

OBJECTIVES, TRAINABLE = ("classifier", "clip"), ("all", "head", "adapter", "lora")
CLASSES, WIDTH = 7, 16
# int8 has 127 steps up to the largest change of a channel; float32 rounds the sum.
LARGEST_CHANGE = 0.02
LARGEST_ERROR = LARGEST_CHANGE / 127 / 2 + 1e-6
Weights = dict[str, NDArray]


def config_of(trainable: str, **keys: str) -> ExperimentConfig:
    # LoRA needs linear layers.
    backbone, size = ("test_vit", 160) if trainable == "lora" else ("test_efficientnet", 64)
    return parse(
        {
            **{"backbone": f"timm:{backbone}", "image-size": size, "pretrained": False},
            **{"trainable": trainable, "text-encoder": "ViT-B/32", **keys},
        }
    )


@cache
def network(objective: str, trainable: str) -> tuple[Weights, list[str]]:
    """The sent part of a network, and the names of its trained parameters."""
    text = ClipText(np.zeros((CLASSES, WIDTH), np.float32), 1.0) if objective == "clip" else None
    built = Task(config_of(trainable, objective=objective), CLASSES, text).build()
    return {name: array.copy() for name, array in sent_part(built).items()}, list(built.trained())


def changed(sent: Weights) -> Weights:
    """Floats by up to `LARGEST_CHANGE`."""
    generator = np.random.default_rng(0)
    return {
        name: (array + generator.uniform(-1, 1, array.shape) * LARGEST_CHANGE).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in sent.items()
    }


def signature_of(record: ArrayRecord) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (array.dtype, tuple(array.shape)) for name, array in record.items()}


def forms(weights: Weights) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    return {name: (array.dtype, array.shape) for name, array in weights.items()}


@pytest.mark.parametrize(
    "strategy, objective, trainable",
    [cell for cell in product(METHODS, OBJECTIVES, TRAINABLE) if not shares_nothing(*cell[::2])],
)
def test_a_round(strategy: str, objective: str, trainable: str) -> None:
    method, (weights, trained) = METHODS[strategy], network(objective, trainable)
    for wire_format in FORMATS:
        config = config_of(
            trainable,
            strategy=strategy,
            objective=objective,
            **{"wire-format": wire_format, "optimizer": "sgd" if method.sgd_only else "adam"},
        )
        exchange = Exchange(method, config.to_flat(), weights, trained)
        plan, first = exchange.train_layout, exchange.first
        request = Content(
            {
                "config": {"experiment": config.to_toml(), "round": 1},
                **{k: dict(r) for k, r in exchange.constants().items() if k == LOCAL_LAYOUT},
                LAYOUT: dict(plan.record()),
            },
            arrays={"arrays": signature_of(first)},
        )
        check_what_travels(method, request)

        returned = changed(plan.views(first))
        reply = plan.flatten(returned)
        if wire_format != "float32":
            reply = pack_record(returned, plan.views(first), {}, wire_format)
        assert form_of("train", request).arrays == {"arrays": signature_of(reply)}

        if wire_format != "float32":
            reply = unpack_record(reply, first, plan, wire_format)
        mean = {name: array.copy() for name, array in plan.views(reply).items()}
        for name, array in returned.items():
            assert np.abs(mean[name] - array).max(initial=0) < LARGEST_ERROR, name
        if exchange.step is not None:
            scalars = {key: kind({}, None).least for key, kind in method.scalars.items()}
            exchange.step.take(
                plan.views(first), mean, round_number=1, replies=[(1.0, scalars)] * 3
            )
        following = exchange.weights(plan.flatten(mean))
        assert forms(following) == forms(weights)
        assert all(np.isfinite(array).all() for array in following.values())
        shared = {name for name in plan.signature if not is_carried(name)}
        assert shared == weights.keys() - method.local_names(weights)
