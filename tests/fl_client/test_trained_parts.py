"""A client that trains a part of the network: what it sends, stores, and keeps to itself."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_client.client import Client, base_of
from fl_client.local_model import save_final_model
from fl_client.local_training import evaluate_locally, train_locally
from strategies.method import carried_name
from strategies.methods import OWN
from tests.support import BACKBONE, assert_same_bits, make_client, make_config, make_text, same_bits
from training.errors import TrainingError
from training.model_file import ModelFile
from training.network import sent_part
from training.task import Task
from training.weights import Weights, load_weights


def client_of(folder: Path, **changes: Any) -> Client:
    values = {"trainable": "adapter", "cache_dir": str(folder / "cache"), **changes}
    return make_client(folder, make_config(**values))


def settings(client: Client, round_number: int = 1, **more: Any) -> dict[str, Any]:
    base = {"base": base_of(client.config)} if client.config.trainable != "all" else {}
    changes = {key.replace("_", "-"): value for key, value in more.items()}
    return {"round": round_number, "client-index": 0, **base, **changes}


def first(client: Client) -> Weights:
    return sent_part(Task(client.config, 3).build())


@pytest.mark.parametrize(
    "trainable, backbone, num_arrays",
    [("head", "resnet18", 2), ("adapter", "resnet18", 6), ("lora", "convnext_t", 74)],
)
def test_the_reply_is_the_sent_part(
    tmp_path: Path, trainable: str, backbone: str, num_arrays: int
) -> None:
    """convnext_t has 18 blocks of two linear layers: 36 times A and B, and the head's two."""
    client = client_of(tmp_path, trainable=trainable, backbone=backbone)
    received = first(client)
    trained, metrics = train_locally(client, received, settings(client, 2))
    assert len(trained) == num_arrays
    assert {n: (a.dtype, a.shape) for n, a in trained.items()} == {
        n: (a.dtype, a.shape) for n, a in received.items()
    }
    assert (trained["head.weight"] != received["head.weight"]).any()
    assert metrics["num-examples"] == 12
    expected = evaluate_locally(client, received, settings(client, splits="validation"))
    assert metrics["validation-confusion"] == expected["validation-confusion"]


def test_fedprox_without_mu_is_fedavg_to_the_bit_and_with_it_pulls(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    received = first(client)
    fedavg, _ = train_locally(client, received, settings(client))
    none, pulled = (
        train_locally(
            client_of(tmp_path, strategy="fedprox", proximal_mu=mu), received, settings(client)
        )[0]
        for mu in (0.0, 10.0)
    )
    assert_same_bits(none, fedavg)
    distance = {
        name: [float(np.abs(side[name] - received[name]).sum()) for side in (fedavg, pulled)]
        for name in received
    }
    assert all(near < far for far, near in distance.values()), distance


@pytest.mark.parametrize(
    "method", [name for name, row in OWN.items() if row.client_half or row.own_half]
)
def test_methods_count_steps_and_not_batches(tmp_path: Path, method: str) -> None:
    """A head has no BatchNorm: a step over two batches of four is one over a batch of eight.

    SCAFFOLD divides by the number of steps, FedNova sends it, of twelve images in 8 + 4; FedProx,
    FedDyn and Ditto add to a gradient once a step.
    """
    found = []
    for sizes in ({"batch_size": 8}, {"batch_size": 4, "accumulate_batches": 2}):
        keys = {"trainable": "head", "strategy": method, "learning_rate": 0.1, **sizes}
        client = replace(client_of(tmp_path, **keys), folder=tmp_path / str(len(found)))
        received = first(client)
        for kind in OWN[method].carried:
            received |= {
                carried_name(kind, name): np.full_like(array, 0.01)
                for name, array in first(client).items()
            }
        one, _ = train_locally(client, received, settings(client, 1))
        back = received | {name: array.copy() for name, array in one.items()}
        found.append(train_locally(client, back, settings(client, 2)))
    (whole, metrics), (accumulated, same) = found
    assert whole.keys() == accumulated.keys()
    for name, array in whole.items():
        np.testing.assert_allclose(accumulated[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    for key in OWN[method].scalars:
        assert same[key] == metrics[key]


def test_the_base_is_found_though_the_head_stays_at_the_clients(tmp_path: Path) -> None:
    """With an adapter FedPer shares that; the base is the trunk, as with any other method."""
    assert base_of(client_of(tmp_path, strategy="fedper").config) == base_of(
        client_of(tmp_path).config
    )


def test_a_round_that_is_asked_for_again_is_the_same(tmp_path: Path) -> None:
    """With Adam's state from the round before, which holds the adapter's and head's alone."""
    client = client_of(tmp_path, optimizer="adam", client_optimizer="persistent")
    one, _ = train_locally(client, first(client), settings(client, 1))
    one = {name: array.copy() for name, array in one.items()}
    two, metrics = train_locally(client, one, settings(client, 2))
    assert metrics["optimizer-round"] == 1
    again, _ = train_locally(client, one, settings(client, 2))
    assert_same_bits(again, two)
    fresh = client_of(tmp_path / "other", optimizer="adam")
    assert not same_bits(train_locally(fresh, one, settings(fresh, 2))[0], two)
    # Two moments and a count of steps for each of six tensors.
    assert len(load_weights(client.folder / "optimizer" / "round-00002.safetensors")) == 18


@pytest.mark.parametrize("trainable, backbone", [("adapter", "resnet18"), ("lora", "convnext_t")])
def test_another_base_is_refused_when_it_is_built(
    tmp_path: Path, trainable: str, backbone: str
) -> None:
    """Also by a client that came after the introductions."""
    client = client_of(tmp_path, trainable=trainable, backbone=backbone)
    message = {**settings(client), "base": "0" * 64}
    with pytest.raises(TrainingError, match=f"^the base of {backbone} on this machine is not"):
        train_locally(client, first(client), message)


def test_an_adapter_for_another_backbone_is_refused(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    other = client_of(tmp_path, backbone="convnext_t")
    with pytest.raises(
        TrainingError, match=f"^the weights are not those of {BACKBONE} with trainable = adapter: "
    ):
        train_locally(client, first(other), settings(client))
    whole = client_of(tmp_path, trainable="all")
    with pytest.raises(TrainingError, match=r"with trainable = adapter: Unexpected key"):
        train_locally(client, first(whole), settings(client))


def test_an_image_encoder_trains_its_adapter_against_the_text(tmp_path: Path) -> None:
    client = client_of(tmp_path, objective="clip", optimizer="adagrad")
    text = make_text()
    received = sent_part(Task(client.config, 3, text).build())
    assert received["head.weight"].shape == (16, 256)
    trained, _ = train_locally(client, received, settings(client), text)
    assert trained.keys() == received.keys()
    assert evaluate_locally(client, trained, settings(client, splits="test"), text)


@pytest.mark.parametrize(
    "trainable, backbone",
    [("adapter", "resnet18"), pytest.param("lora", "convnext_t", marks=pytest.mark.slow)],
)
def test_a_site_takes_the_whole_model_home(tmp_path: Path, trainable: str, backbone: str) -> None:
    """It gives the network that the sent part and the base give, and needs neither."""
    client = client_of(tmp_path, trainable=trainable, backbone=backbone)
    trained, _ = train_locally(client, first(client), settings(client))
    save_final_model(client, trained, settings(client, run="0" * 32), None)
    kept = ModelFile.load(client.folder / "model.safetensors")
    network = Task(client.config, 3).restore(trained)
    elsewhere = kept.config.replace(seed=7)  # where the base would be another
    home = Task(elsewhere, 3).restore(kept.weights)
    expected = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert_same_bits({name: t.numpy() for name, t in home.state_dict().items()}, expected)


@pytest.mark.slow
def test_a_message_on_kept_features_loads_no_library_of_networks(tmp_path: Path) -> None:
    """Nor scikit-learn, PEFT or transformers: a site starts a process for every message."""
    client = client_of(tmp_path, backbone="resnet18")
    train_locally(client, first(client), settings(client))
    script = f"""
import sys
from pathlib import Path
from tests.fl_client.test_trained_parts import *
folder = Path({str(tmp_path)!r})
from models.backbones import over_features
client = client_of(folder, backbone="resnet18")
state = over_features("resnet18", 3, trainable="adapter").state_dict()
weights = {{name: tensor.zero_().numpy() for name, tensor in state.items()}}
message = {{"round": 2, "client-index": 0, "base": {base_of(client.config)!r}}}
train_locally(client, weights, message)
heavy = {{"torchvision", "timm", "open_clip", "sklearn", "peft", "transformers"}}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
