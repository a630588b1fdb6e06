"""Arrays that take long to compute, cached in a file."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from operation.files import parse_json, replacing

_DTYPES: dict[str, type[np.generic]] = {"F32": np.float32, "I64": np.int64}


def kept(
    path: Path, key: str, compute: Callable[[], Mapping[str, NDArray]], **metadata: str
) -> dict[str, NDArray]:
    """Return the arrays in a file, memory-mapped; or compute them and store them there.

    The file is written atomically; one that is damaged or has another key is replaced.

    Args:
        path: a safetensors file.
        key: identifies everything that the arrays were computed from.
        compute: returns float32 and int64 arrays by name.
        metadata: further entries for the file.
    """
    found = _open(path, key)
    if found is not None:
        with suppress(OSError):  # in somebody else's folder
            # So that a cache can delete the files unused for longest. The content is unchanged,
            # and so is the time that says when it was written.
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return found
    arrays = dict(compute())
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"key": key, **metadata})
    return arrays


def _open(path: Path, key: str) -> dict[str, NDArray] | None:
    try:
        with safe_open(path, framework="np") as file:  # checks the head and the file's length
            if (file.metadata() or {}).get("key") != key:
                return None
    except (OSError, SafetensorError):  # none yet, or damaged
        return None
    # safetensors itself maps a file only for torch, which not all readers need.
    content = np.asarray(np.memmap(path, mode="r"))
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    head = parse_json(content[8:start].tobytes())
    return {
        name: content[slice(*(start + offset for offset in entry["data_offsets"]))]
        .view(_DTYPES[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in head.items()
        if name != "__metadata__"
    }
