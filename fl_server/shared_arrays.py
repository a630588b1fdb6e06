"""One copy of a round's arrays in Ray's shared memory, for all messages of a simulation.

Every message of a round holds the same weights. Ray would write them into its shared memory once
for each message; here a message only has a reference to them.
"""

import copyreg
from threading import Lock
from typing import Any

import numpy as np
import ray
from flwr.app import Array

from strategies.arrays import put_together, take_apart

# Bytes; a smaller array is written with its message.
LEAST = 2**20

# The name of an array's own attribute with its reference: they are freed together.
_REFERENCE = "_fedskin_reference"
_lock = Lock()


def share_arrays() -> None:
    """Let the arrays that this process sends be shared; they must not change once they are sent."""
    copyreg.pickle(Array, _by_reference)


def _by_reference(array: Array) -> tuple[Any, ...]:
    if len(array.data) < LEAST:
        return take_apart(array)
    known = vars(array)
    with _lock:  # messages are sent by several threads
        if _REFERENCE not in known:
            known[_REFERENCE] = ray.put(np.frombuffer(array.data, "u1"))
    return _fetched, (array.dtype, array.shape, array.stype, known[_REFERENCE])


def _fetched(dtype: str, shape: tuple[int, ...], stype: str, reference: Any) -> Array:
    """Return the array in the process of a client, which reads it where it is."""
    return put_together(dtype, shape, stype, ray.get(reference))
