"""The distances of features, against the papers' formulas in float64, and the term in training."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support import assert_same_bits, make_config, make_text, random_split
from training.alignment import coral, mmd
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.network import sent_part
from training.optimizers import build_optimizer
from training.split import Split
from training.task import Task
from training.weights import Weights

Sample = NDArray[np.float64]
REFERENCE = "/reference"


def samples(m: int = 7, n: int = 5, width: int = 4) -> tuple[Sample, Sample]:
    rng = np.random.default_rng(0)
    return rng.normal(3.0, 1.0, (m, width)), rng.normal(2.0, 2.0, (n, width))


def mmd_by_loops(x: Sample, y: Sample) -> float:
    """Gretton et al. 2012, equation 5 squared; σ the (lower) median distance of all pairs."""
    points = [*x, *y]
    distances = sorted(
        float(np.sqrt(((points[i] - points[j]) ** 2).sum()))
        for i in range(len(points))
        for j in range(i)
    )
    sigma = distances[(len(distances) - 1) // 2]

    def mean(first: Sample, second: Sample) -> float:
        kernel = [np.exp(-((a - b) ** 2).sum() / (2 * sigma**2)) for a in first for b in second]
        return float(np.mean(kernel))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def coral_by_formula(source: Sample, target: Sample) -> float:
    """Sun and Saenko 2016, equations 1 to 3, as they are written."""

    def covariance(data: Sample) -> Sample:
        n, ones = len(data), np.ones((1, len(data)))
        return (data.T @ data - (ones @ data).T @ (ones @ data) / n) / (n - 1)

    difference = covariance(source) - covariance(target)
    return float((difference**2).sum() / (4 * source.shape[1] ** 2))


def tensors(*arrays: Sample) -> list[torch.Tensor]:
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


@pytest.mark.parametrize("shape", [(7, 5, 4), (2, 2, 1), (6, 6, 30)])
def test_the_distances_are_the_papers(shape: tuple[int, int, int]) -> None:
    x, y = samples(*shape)
    assert float(mmd(*tensors(x, y))) == pytest.approx(mmd_by_loops(x, y), abs=1e-6)
    assert float(coral(*tensors(x, y))) == pytest.approx(coral_by_formula(x, y), rel=1e-5)


def test_a_sample_is_at_no_distance_from_itself() -> None:
    x, y = samples()
    for distance in (mmd, coral):
        assert float(distance(*tensors(x, x))) == pytest.approx(0, abs=1e-6)
        assert float(distance(*tensors(x, y))) > 0.01
    # CORAL looks at covariances only, MMD at the whole distribution.
    assert float(coral(*tensors(x, x + 5))) == pytest.approx(0, abs=1e-6)
    assert float(mmd(*tensors(x, x + 5))) > 0.5


def test_equal_points_have_a_finite_gradient() -> None:
    """All distances, and so the median, are 0."""
    for distance in (mmd, coral):
        ours = torch.ones(3, 2, requires_grad=True)
        term = distance(ours, torch.ones(4, 2))
        term.backward()
        assert term.item() == 0
        assert ours.grad is not None
        assert torch.isfinite(ours.grad).all()


def config_of(kind: str, weight: float = 1.0, **changes: Any) -> ExperimentConfig:
    settings = {"alignment": kind, "alignment_weight": weight, "reference_dir": REFERENCE}
    return make_config(batch_size=4, **{**(settings if kind != "none" else {}), **changes})


def trained(
    config: ExperimentConfig, *, num: int = 8, epochs: int = 1, rate: float = 0.01
) -> tuple[Weights, float]:
    """The weights and the loss after an epoch of the same images, and what is aligned."""
    text = make_text() if config.objective == "clip" else None
    task = Task(config, 3, text)
    network = task.build()
    optimizer = build_optimizer(config.to_flat(), network.trained().values(), rate)
    loss = task.train(
        network,
        random_split(num),
        optimizer,
        round_number=1,
        rounds=1,
        epochs=epochs,
        reference=None if config.alignment == "none" else random_split(6, seed=1),
    )
    return {name: array.copy() for name, array in sent_part(network).items()}, loss


@pytest.mark.parametrize("kind", ["mmd", "coral"])
@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_weight_zero_is_no_alignment_to_the_bit(kind: str, objective: str) -> None:
    plain, loss = trained(config_of("none", objective=objective))
    without, same = trained(config_of(kind, 0.0, objective=objective))
    assert_same_bits(without, plain)
    assert same == loss
    aligned, larger = trained(config_of(kind, 10.0, objective=objective))
    assert (aligned["trunk.conv_stem.weight"] != plain["trunk.conv_stem.weight"]).any()
    assert larger > loss
    assert_same_bits(trained(config_of(kind, 10.0, objective=objective))[0], aligned)


def test_the_reference_does_not_enter_the_clients_statistics() -> None:
    """In the first step BatchNorm has seen the client's four images, once, whatever the weights."""
    plain, _ = trained(config_of("none"), num=4)
    aligned, _ = trained(config_of("mmd", 5.0), num=4)
    buffers = [name for name in plain if "running" in name or "num_batches" in name]
    assert buffers
    for name in buffers:
        assert (plain[name] == aligned[name]).all()


def test_training_brings_the_features_nearer() -> None:
    """Of bright and dark images, which an adapter's gates can bring together."""

    def distance_after(kind: str) -> float:
        config = config_of(kind, 100.0, trainable="adapter", optimizer="adam")
        task = Task(config, 3)
        network = task.build()
        rng = np.random.default_rng(0)
        ours, theirs = (
            Split(
                rng.normal(mean, 1, (12, 1, 256)).astype(np.float32),
                np.arange(12) % 3,
                np.arange(12),
            )
            for mean in (3.0, 0.0)
        )
        network.trunk = torch.nn.Identity()
        optimizer = build_optimizer(config.to_flat(), network.trained().values(), 0.01)
        reference = None if kind == "none" else theirs
        task.train(
            network, ours, optimizer, round_number=1, rounds=1, epochs=10, reference=reference
        )
        features = [
            network.features(torch.from_numpy(split.images[:, 0])).detach()
            for split in (ours, theirs)
        ]
        return float(coral(*features))

    assert distance_after("coral") < 0.5 * distance_after("none")


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"alignment": "mmd"}, r"^alignment = 'mmd': name a folder of images .* reference-dir$"),
        ({"reference_dir": "/r"}, r"^reference-dir = '/r': allowed with alignment = mmd or coral"),
        (
            {"alignment": "coral", "reference_dir": "/r", "trainable": "head"},
            r"^alignment = 'coral': with trainable = 'head' nothing that is trained lies before",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_config(**changes)
