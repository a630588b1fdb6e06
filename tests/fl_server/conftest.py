"""Fixtures of the tests that run the server's app in their own process."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from flwr.proto.node_pb2 import Node
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from fl_server.piecewise_grid import PiecewiseGrid
from tests.fl_server.superlink_in_memory import SuperLink


@pytest.fixture(scope="module")
def flower_run() -> Iterator[None]:
    """Be the server's task of a Flower run; clients set torch's threads, here the test's own."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_task_id", "_run_id", "_node_id"):
            patch.setattr(TaskIdentity, name, 1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for image stores and features, shared by the runs of a file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def grid(superlink: SuperLink) -> PiecewiseGrid:
    """The grid of a ServerApp that this SuperLink started."""
    flower = SimpleNamespace(
        _runtime_client=superlink, node=Node(node_id=1), run=SimpleNamespace(run_id=5)
    )
    return PiecewiseGrid(cast(HttpGrid, flower))
