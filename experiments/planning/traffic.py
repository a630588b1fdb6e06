"""The bytes of a federated run's messages, counted from the arrays of its network."""

from dataclasses import dataclass

import numpy as np

from models.backbones import build_on_meta
from models.text_encoders import find_text_encoder
from strategies.arrays import npy_header
from strategies.layout import Layout, Signature
from strategies.method import carried_name
from strategies.methods import METHODS
from strategies.wire_format import signature
from training.config import ExperimentConfig


@dataclass(frozen=True)
class Traffic:
    """Bytes of arrays, as `rounds.jsonl` counts them, of one client."""

    down: int  # to it, in a round
    up: int  # from it, in a round
    judged: int  # to it, with a model that it is asked to judge


def traffic(config: ExperimentConfig, num_classes: int) -> Traffic:
    """Return what travels between the server and a client that is asked in a round.

    Raises:
        BackboneError: the backbone's library does not have it.
    """
    clip = config.objective == "clip"
    width = find_text_encoder(config.text_encoder).width
    network = build_on_meta(
        config.backbone, width if clip else num_classes, trainable=config.trainable
    )
    whole: Signature = {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in network.sent_part().items()
    }
    method = METHODS[config.strategy]
    stays = method.local_names(whole)
    shared = {name: kind for name, kind in whole.items() if name not in stays}
    carried = {
        carried_name(kind, name): shared[name]
        for kind in method.carried
        for name in network.trained()
        if name in shared
    }
    # The first values of what stays, and the text features, are in every message.
    constant = _long({name: kind for name, kind in whole.items() if name in stays})
    if clip:
        text: Signature = {"features": ("float32", (num_classes, width)), "scale": ("float64", ())}
        constant += _size(text)
    exchanged = {**shared, **carried}
    return Traffic(
        down=_long(exchanged) + constant,
        up=_long(signature(exchanged, config.wire_format)),
        judged=_long(shared) + constant,
    )


def _long(arrays: Signature) -> int:
    """Return the bytes of arrays that are concatenated, as they travel."""
    return _size(Layout(arrays).flat_signature())


def _size(arrays: Signature) -> int:
    return sum(
        len(npy_header(dtype, shape)) + int(np.prod(shape)) * np.dtype(dtype).itemsize
        for dtype, shape in arrays.values()
    )
