"""Runs over sites that train a part of the network: bases, and a site's final model."""

import pytest
import torch

import fl_client.client
from fl_server.federated_run import RunFailed
from tests.fl_server.hospitals import NODES, RUN, Hospitals
from tests.support import assert_same_bits
from training.config import ExperimentConfig
from training.model_file import ModelFile
from training.network import base_sha256
from training.task import Task

pytestmark = pytest.mark.usefixtures("flower_task")


@pytest.mark.parametrize("backbone", ["resnet18", "timm:test_efficientnet"])
def test_an_adapter_is_trained_and_the_whole_model_taken_home(
    backbone: str, hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = hospitals.run(monkeypatch, trainable="adapter", backbone=backbone)
    folder = hospitals.run_folder
    sent = folder.checkpoint.weights(figures["best_round"])
    assert len(sent) == 6
    network = Task(folder.config().replace(device="cpu"), 7).restore(sent)
    assert folder.manifest()["base_sha256"] == base_sha256(network)
    whole = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for name in NODES:
        kept = ModelFile.load(hospitals.folder / name / "runs" / RUN / "model.safetensors")
        assert_same_bits(kept.weights, whole)
    elsewhere = Task(kept.config.replace(device="cpu"), 7).restore(kept.weights)
    with torch.inference_mode():
        pixels = torch.ones(1, 3, 32, 32)
        assert torch.equal(elsewhere.eval()(pixels), network.eval()(pixels))


def test_a_site_with_another_base_is_named_before_round_one(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = fl_client.client.base_of

    def base_of(config: ExperimentConfig) -> str:
        return "f" * 64 if "hospital-b" in config.data_dir else ours(config)

    monkeypatch.setattr(fl_client.client, "base_of", base_of)
    with pytest.raises(RunFailed, match=r"^hospital-b: not the base that this server has"):
        hospitals.run(monkeypatch, trainable="head")
    assert hospitals.run_folder.manifest()["status"] == "failed"
    assert {message.metadata.message_type for message in hospitals.grid.sent} == {"query"}
