"""Fixtures of the tests that run the server's app in their own process."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pandas as pd
import pytest
import torch
from flwr.proto.node_pb2 import Node
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from fl_server.streaming_grid import StreamingGrid
from tests.fl_server.hospitals import NODES, Hospitals
from tests.fl_server.superlink_in_memory import SuperLink
from tests.runs import tiny_config
from training.experiment_data import open_federated_data


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
def grid(superlink: SuperLink) -> StreamingGrid:
    """The grid of a ServerApp that this SuperLink started."""
    flower = SimpleNamespace(
        _runtime_client=superlink, node=Node(node_id=1), run=SimpleNamespace(run_id=5)
    )
    return StreamingGrid(cast(HttpGrid, flower))


@pytest.fixture(scope="session")
def images(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the release, of its store in cache/, and of one data folder for each shard."""
    folder = tmp_path_factory.mktemp("images")
    plan = open_federated_data(tiny_config(synthetic_ham, folder / "cache")).plan
    table = pd.read_csv(synthetic_ham / "HAM10000_metadata.csv", dtype=str, keep_default_na=False)
    for index, name in enumerate(NODES):
        ids = plan.loc[plan["client"] == f"client-{index}", "image_id"]
        part = folder / name / "HAM10000_images_part_1"
        part.mkdir(parents=True)
        for path in synthetic_ham.glob("HAM10000_images_part_*/*.jpg"):
            if path.stem in set(ids):
                (part / path.name).symlink_to(path)
        rows = table[table["image_id"].isin(ids)]
        rows.to_csv(folder / name / "HAM10000_metadata.csv", index=False)
    return folder


@pytest.fixture
def hospitals(tmp_path: Path, synthetic_ham: Path, images: Path) -> Iterator[Hospitals]:
    """Sites that each have a data folder of their own, which holds the images of a shard.

    Clients set the number of torch's threads for their process, which here is the test's.
    """
    before = torch.get_num_threads()
    node_configs = {
        name: {
            "site": name,
            "folder": str(tmp_path / name),
            "data-dir": str(images / name),
            "cache-dir": str(images / "cache"),
            "weights-dir": "",
        }
        for name in NODES
    }
    yield Hospitals(tmp_path, synthetic_ham, node_configs)
    torch.set_num_threads(before)
