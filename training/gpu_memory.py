"""The memory in use of a GPU, noted by the processes of a run that computes on it.

PyTorch keeps the memory that it has taken, so after training and after each evaluation as much is
in use as was ever needed. The system's figure is used, not PyTorch's own, because it includes what
CUDA itself takes for each process, half a gigabyte or more. It is that of all processes on the GPU.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from operation.files import write_text

# The variable with the folder for the notes; processes without it note nothing.
FOLDER = "FEDSKIN_GPU_MEMORY"


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of a GPU."""

    used: int
    total: int


def note_gpu_memory(device: str) -> None:
    """Note how much of this process's GPU is in use, if it has one and its environment asks."""
    folder = os.environ.get(FOLDER)
    if device != "cuda" or not folder:
        return
    import torch

    free, total = torch.cuda.mem_get_info()
    note = Path(folder) / f"gpu-memory-{os.getpid()}"
    known = _read(note) if note.exists() else GpuMemory(0, total)
    if total - free > known.used:
        write_text(note, f"{total - free} {total}")


def noted_gpu_memory(folder: Path) -> GpuMemory | None:
    """Return the largest of the notes in a folder, None if there is none."""
    notes = [_read(note) for note in folder.glob("gpu-memory-*")]
    return max(notes, key=lambda note: note.used, default=None)


def _read(note: Path) -> GpuMemory:
    return GpuMemory(*map(int, note.read_text(encoding="ascii").split()))
