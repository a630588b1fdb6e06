"""Pooled training is one client's plain training on the images of all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fl_server.clients_in_memory import run_in_memory
from training.experiment_data import open_federated_data
from training.network import sent_part
from training.optimizers import build_optimizer
from training.run_folder import RunFolder
from training.task import Task
from training.weights import weights_sha256


@pytest.mark.usefixtures("flower_run")
def test_its_model_is_that_of_a_loop_over_all_training_images(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    found = run_in_memory(
        synthetic_ham, cache, tmp_path / "run", strategy="pooled", rounds=2, min_replies=1
    )
    folder = RunFolder(tmp_path / "run")
    config = folder.config()
    data = open_federated_data(config)
    own = [data.split(f"client-{index}", "train") for index in range(config.clients)]
    everything = replace(own[0], indices=np.sort(np.concatenate([one.indices for one in own])))
    assert len(everything) > len(own[0])
    task = Task(config, len(data.store.classes))
    network = task.build()
    for round_number in (1, 2):
        optimizer = build_optimizer(config.to_flat(), network.trained().values())
        task.train(network, everything, optimizer, round_number=round_number, rounds=2)
    assert weights_sha256(sent_part(network)) == found["weights_sha256"]
