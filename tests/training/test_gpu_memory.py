"""What processes note of their GPU's memory; the GPU is made of plain numbers."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import make_config
from training.gpu_memory import FOLDER, GpuMemory, note_gpu_memory, noted_gpu_memory
from training.optimizers import build_optimizer
from training.split import Split
from training.task import Task


def is_used(monkeypatch: pytest.MonkeyPatch, used: int, *, process: int = 1) -> None:
    """Let a process see ``used`` of 100 bytes in use."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 - used, 100))
    monkeypatch.setattr(os, "getpid", lambda: process)


def test_the_most_that_any_process_saw_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert noted_gpu_memory(tmp_path) is None
    for process, used in ((1, 30), (2, 50), (2, 40), (1, 35)):
        is_used(monkeypatch, used, process=process)
        note_gpu_memory("cuda")
    assert noted_gpu_memory(tmp_path) == GpuMemory(used=50, total=100)


def test_nothing_is_noted_without_a_gpu_or_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_used(monkeypatch, 30)
    note_gpu_memory("cuda")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    note_gpu_memory("cpu")
    assert noted_gpu_memory(tmp_path) is None


def test_training_and_evaluating_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import task as module

    noted: list[str] = []
    monkeypatch.setattr(module, "note_gpu_memory", noted.append)
    task = Task(make_config(backbone="resnet18", image_size=32, batch_size=4), 7)
    images = np.zeros((4, 37, 37, 3), dtype=np.uint8)
    split = Split(images, np.arange(4), np.arange(4))
    network = task.build()
    optimizer = build_optimizer(task.config.to_flat(), network.trained().values())
    task.train(network, split, optimizer, round_number=1, rounds=1)
    assert noted == ["cpu"]
    task.evaluate(network, split)
    assert noted == ["cpu", "cpu"]
