"""BatchNorm's statistics recomputed on the images of a test set."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fl_client.local_training import evaluate_locally
from tests.support import (
    UNCHANGED,
    assert_same_bits,
    first_weights,
    make_client,
    make_config,
    random_split,
    state_of,
)
from tests.training.epochs import torch_seed  # noqa: F401
from training.batchnorm import note_without_batchnorm, recomputed_batchnorm
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.split import Split
from training.task import Task


def small_network() -> nn.Sequential:
    """Two BatchNorm layers, whose statistics are far from those of the images."""
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    )
    for layer in (network[1], network[4]):
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
    return network.eval()


def statistics(network: nn.Module, split: Split, batch_size: int = 99, seed: int = 0) -> np.ndarray:
    settings = {"batch_size": batch_size, "preprocessing": UNCHANGED, "seed": seed}
    with recomputed_batchnorm(network, split, **settings):  # type: ignore[arg-type]
        state = state_of(network)
    return np.concatenate([state[name] for name in state if ".running" in name])


def test_they_are_the_moments_of_each_layers_input() -> None:
    """In float64, layer by layer: z = γ (x − μ)/√(σ² + ε) + β, moments over the 7 images."""
    network, split = small_network(), random_split(7, side=8)
    x = torch.from_numpy(split.images.transpose(0, 3, 1, 2) / 255)
    expected = []
    for layer in network.double():
        if isinstance(layer, nn.BatchNorm2d):
            values = x.numpy()
            mean, variance = values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))
            expected += [mean, variance]
            scaled = (values - mean[:, None, None]) / np.sqrt(variance + layer.eps)[:, None, None]
            gamma, beta = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            x = torch.from_numpy(scaled * gamma[:, None, None] + beta[:, None, None])
        else:
            x = layer(x).detach()
    found = statistics(network.float(), split)
    assert found == pytest.approx(np.concatenate(expected), abs=1e-6)


def test_the_networks_own_are_there_again() -> None:
    network, split = small_network(), random_split(7, side=8)
    before = state_of(network)
    assert statistics(network, split, 3) != pytest.approx(0.0)
    assert_same_bits(state_of(network), before)
    with (
        pytest.raises(KeyError),
        recomputed_batchnorm(network, split, batch_size=3, preprocessing=UNCHANGED, seed=0),
    ):
        raise KeyError
    assert_same_bits(state_of(network), before)


def test_batches_are_pooled() -> None:
    """The first layer's inputs do not depend on batches, so 3 + 4 images give what 7 give."""
    network, split = small_network(), random_split(7, side=8)
    assert statistics(network, split, 3)[:8] == pytest.approx(
        statistics(network, split)[:8], abs=1e-6
    )
    assert (statistics(network, split, 3) == statistics(network, split, 3)).all()
    assert (statistics(network, split, 3) != statistics(network, split, 3, seed=1)).any()


def test_with_one_batch_no_order_matters() -> None:
    network, split = small_network(), random_split(7, side=8)
    turned = Split(split.images, split.labels, split.indices[::-1])
    for seed in (0, 1):
        found = statistics(network, turned, seed=seed)
        assert found == pytest.approx(statistics(network, split), abs=1e-6)


def test_one_image_and_a_network_without_it_change_nothing() -> None:
    network = small_network()
    own = np.concatenate([v for k, v in state_of(network).items() if ".running" in k])
    for size in (0, 1):
        assert (statistics(network, random_split(size, side=8)) == own).all()
    plain = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 3), nn.BatchNorm1d(3, track_running_stats=False)
    )
    with recomputed_batchnorm(
        plain, random_split(3, side=8), batch_size=2, preprocessing=UNCHANGED, seed=0
    ):
        pass


def test_a_network_without_batchnorm_is_told() -> None:
    config = make_config(test_batchnorm="recomputed")
    assert note_without_batchnorm(config) == []
    other = config.replace(backbone="convnext_t")
    assert note_without_batchnorm(other) == [
        "test-batchnorm = recomputed: convnext_t has no BatchNorm, so it is judged as it is"
    ]
    assert note_without_batchnorm(other.replace(test_batchnorm="stored")) == []


@pytest.mark.parametrize("trainable", ["head", "adapter"])
def test_kept_features_have_no_statistics(trainable: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^test-batchnorm = 'recomputed': allowed with trainable"
    ):
        make_config(test_batchnorm="recomputed", trainable=trainable)


def evaluated(folder: Path, config: ExperimentConfig, splits: str) -> dict[str, object]:
    settings = {"splits": splits, "client-index": 0, "round": 1}
    found = evaluate_locally(make_client(folder, config), first_weights(), settings)
    return {name: value for name, value in found.items() if not name.startswith("seconds")}


def test_a_client_recomputes_for_its_test_split_only(tmp_path: Path) -> None:
    stored = make_config(batch_size=3)
    recomputed = stored.replace(test_batchnorm="recomputed")
    ours = evaluated(tmp_path, recomputed, "validation,test")
    theirs = evaluated(tmp_path, stored, "validation,test")
    assert ours["validation-loss"] == theirs["validation-loss"]
    assert ours["test-loss"] != theirs["test-loss"]
    # The same as the server, which judges with the same task.
    task, client = Task(recomputed, 3), make_client(tmp_path, recomputed)
    judged = task.judge(task.restore(first_weights()), client.splits["test"])
    assert judged.loss == ours["test-loss"]
