"""Fixtures that several packages' tests share."""

from pathlib import Path

import pytest

from data_partition.synthetic import write_ham10000


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
