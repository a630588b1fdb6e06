"""Small models, packed and unpacked."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.layout import Layout, Signature
from strategies.wire_format import pack_into, signature, unpack_into

Weights = dict[str, NDArray]


PACKED = ("bfloat16", "int8")


def blank(wanted: Signature) -> Weights:
    """Arrays to write to, full of what must not stay."""
    return {name: np.full(shape, 77, dtype) for name, (dtype, shape) in wanted.items()}


def pack(
    trained: Weights, received: Weights, form: str, residual: Weights | None = None
) -> Weights:
    out = blank(signature(Layout.of(received).signature, form))
    pack_into(out, trained, received, {} if residual is None else residual)
    return out


def unpack(packed: Weights, received: Weights) -> Weights:
    out = blank(Layout.of(received).signature)
    unpack_into(out, packed, received)
    return out


def there_and_back(trained: Weights, received: Weights, form: str) -> Weights:
    return unpack(pack(trained, received, form), received)


def model(seed: int = 0, scale: float = 1.0) -> Weights:
    """A bit of everything: a convolution, matrices, a bias, a number, BatchNorm's counter."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"conv": (4, 3, 5, 5), "linear": (6, 40), "high": (40, 6)}
    shapes |= {"bias": (6,), "temperature": ()}
    arrays = {n: np.asarray(scale * rng.normal(size=s), np.float32) for n, s in shapes.items()}
    return {**arrays, "counter": np.array(seed + 7)}


def moved(received: Weights, by: float = 0.01, seed: int = 1) -> Weights:
    """The same after training: floats have moved by about ``by``, the counter has counted."""
    change = model(seed, by)
    return {name: array + change[name] for name, array in received.items()}


def linear(*rows: list[float], dtype: Any = np.float32) -> Weights:
    return {"w": np.array(rows, dtype)}
