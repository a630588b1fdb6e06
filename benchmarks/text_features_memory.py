"""The memory needed to compute text features from a file of a whole CLIP model.

The file is generated: random numbers with the names and shapes of ViT-L/14, image tower included,
once in float32 and once in float16. Each is read in a new process, with HAM10000's prompts. The
result is the peak memory of this process: Python, torch and open_clip, which are most of it, and
the mapped part of the file. The memory that the call takes on top of these is reported separately.
"""

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.peak_memory import peak_bytes, peak_extra_bytes
from benchmarks.result import Result
from data_partition.datasets import find_dataset
from data_partition.ham10000_tables import HAM10000_CLASSES
from models.text_encoders import find_text_encoder
from models.text_features import prompts

# By their names in safetensors.
DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
ROOM = 600  # MB: Python, the libraries and the tensors in use


def measure(repeats: int = 1, *, encoder: str = "ViT-L/14") -> list[Result]:
    """Write a file of each dtype, and read it in new processes.

    Args:
        repeats: processes per dtype.
        encoder: the file has the layout of this text encoder's model.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        shapes = process.submit(_shapes, encoder).result()
    tower = 4 * sum(math.prod(s) for name, s in shapes.items() if not name.startswith("visual."))
    peaks: dict[str, list[float]] = {}
    extras: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as folder:
        path = Path(folder) / "open_clip_model.safetensors"
        for dtype in DTYPES:
            _write(path, shapes, dtype)
            for _ in range(repeats):
                if peak := _in_a_process(_whole_peak, encoder, path):
                    peaks.setdefault(dtype, []).append(peak / 1e6)
            if extra := _in_a_process(_extra_peak, encoder, path):
                extras[dtype] = extra / 1e6
    if not peaks:
        return []
    return [
        Result(
            name="text-features-memory",
            compares="Peak memory of a process that computes text features from a file with "
            f"{encoder}'s layout.",
            value=max(max(samples) for samples in peaks.values()),
            unit="MB",
            samples=peaks,
            samples_unit="MB",
            at_most=round(tower / 1e6) + ROOM,
            details={
                "encoder": encoder,
                "megabytes of the text tower in float32": tower / 1e6,
                "megabytes on top of the imported libraries": extras,
            },
        )
    ]


def _shapes(encoder: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a whole model's floating-point tensors, by open_clip's names."""
    import open_clip
    import torch

    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config(find_text_encoder(encoder).builder))
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


def _write(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
    """Write random tensors one by one; safetensors' own writer needs all of them at once.

    Format: eight bytes for the length of the header, the header as JSON, the tensors' bytes.
    """
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    encoded = json.dumps(header).encode()
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for shape in shapes.values():
            drawn = generator.random(shape, np.float32) - np.float32(0.5)
            file.write(drawn.astype(DTYPES[dtype]).data)


def _in_a_process(
    measured: Callable[[str, Path], int | None], encoder: str, path: Path
) -> int | None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measured, encoder, path).result()


def _whole_peak(encoder: str, path: Path) -> int | None:
    _encode(encoder, path)
    return peak_bytes()


def _extra_peak(encoder: str, path: Path) -> int | None:
    import open_clip
    import torch

    torch.ones(8, 8) @ torch.ones(8, 8)
    open_clip.tokenize("warm")
    return peak_extra_bytes(partial(_encode, encoder, path))


def _encode(encoder: str, path: Path) -> None:
    from models.text_tower import encode_pretrained

    encode_pretrained(
        find_text_encoder(encoder),
        prompts(find_dataset("ham10000").names_in_words(HAM10000_CLASSES)),
        path,
    )
