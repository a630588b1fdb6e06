"""A model's weights as named arrays: their hash, and writing and reading them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from operation.files import replacing
from training.errors import RunFolderError

# Names and arrays of a state dict: parameters and buffers, of any shape and dtype.
Weights = dict[str, NDArray]


def weights_sha256(weights: Mapping[str, NDArray]) -> str:
    """Return the sha256, in hex, over name, dtype, shape and little-endian bytes, by sorted name.

    Two models have the same value if, and only if, every bit of every array is the same.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")  # ascontiguousarray would add a dimension
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save_weights(path: Path, weights: Mapping[str, NDArray]) -> None:
    """Write weights as safetensors, atomically. Needs memory for one copy."""
    with replacing(path) as temporary:
        save_file({n: np.asarray(a, order="C") for n, a in weights.items()}, temporary)


def load_weights(path: Path) -> Weights:
    """Read weights from safetensors.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"{path}: these weights cannot be read ({error})") from None
