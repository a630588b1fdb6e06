"""Fixtures shared by the tests of several packages."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.peak_memory import give_back_freed
from data_partition.synthetic_brats2019 import write_brats2019
from data_partition.synthetic_ham10000 import write_ham10000
from tests.packages import Packages


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_given_back() -> Iterator[None]:
    """After a file of tests; or gigabytes of its models' memory lack the processes of the next.

    What is left, mostly modules, is never garbage: Flower looks for garbage at every message.
    """
    gc.freeze()
    yield
    give_back_freed()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_forced_to_disk() -> Iterator[None]:
    """No test can cut the power, and a small run waits for the disk a hundred times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which still refuses what is no open file
        yield


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """A folder for packages with plug-ins, on Python's path."""
    found = Packages(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(found.folder)
    yield found
    monkeypatch.undo()
    found.forget()


@pytest.fixture
def flower_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the server's task of a Flower run, which is who may make messages."""
    from flwr.supercore.task_identity import TaskIdentity

    monkeypatch.setattr(TaskIdentity, "_task_id", 1)
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)


@pytest.fixture(scope="session")
def synthetic_ham(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 30 training and 70 test images; nobody writes to it."""
    folder = tmp_path_factory.mktemp("synthetic") / "ham"
    write_ham10000(folder, images=30, seed=0)
    return folder


@pytest.fixture(scope="session")
def synthetic_brats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 37 patients of high grade and 11 of low; nobody writes to it."""
    folder = tmp_path_factory.mktemp("synthetic") / "brats"
    write_brats2019(folder, patients=48, seed=0)
    return folder
