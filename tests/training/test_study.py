from itertools import product
from typing import Any

import pytest

from models.registry import BACKBONES
from training.config import ExperimentConfig, parse
from training.head_settings import head_settings
from training.study import resolve

# The study's table: learning rate, weight decay, betas. What has no betas gets zeros.
TABLE = [
    ("sgd", 0.01, 0.0005, (0.0, 0.0)),
    ("adam", 0.001, 0.02, (0.9, 0.98)),
    ("adamw", 0.001, 0.02, (0.9, 0.98)),
    ("adagrad", 0.001, 0.0005, (0.0, 0.0)),
    ("adadelta", 0.001, 0.0005, (0.0, 0.0)),
]


def resolved(threads: int = 2, **values: Any) -> ExperimentConfig:
    values = {"dataset": "ham10000", **values}
    config = parse({key.replace("_", "-"): value for key, value in values.items()})
    return resolve(config, dataset=config.dataset, device="cpu", threads_per_client=threads)


@pytest.mark.parametrize("optimizer, rate, decay, betas", TABLE)
def test_settings_of_an_optimizer(
    optimizer: str, rate: float, decay: float, betas: tuple[float, float]
) -> None:
    config = resolved(optimizer=optimizer)
    assert config.optimizer == optimizer
    assert (config.learning_rate, config.weight_decay) == (rate, decay)
    assert (config.beta1, config.beta2) == betas


def test_auto_is_sgd_with_batches_of_32() -> None:
    config = resolved()
    assert (config.optimizer, config.learning_rate, config.batch_size) == ("sgd", 0.01, 32)
    assert (config.dataset, config.device, config.threads_per_client) == ("ham10000", "cpu", 2)


def test_nothing_is_left_open() -> None:
    assert "auto" not in resolved().to_flat().values()


def test_explicit_values_are_kept() -> None:
    """Also zeros, which are not "auto", and the rest of the optimizer's settings is filled in."""
    config = resolved(optimizer="adam", learning_rate=0.5, weight_decay=0, beta1=0)
    assert (config.learning_rate, config.weight_decay, config.beta1) == (0.5, 0.0, 0.0)
    assert config.beta2 == 0.98
    config = resolved(batch_size=5, threads_per_client=7)
    assert (config.batch_size, config.threads_per_client) == (5, 7)


@pytest.mark.parametrize(
    "clients, asked, needed",
    [
        (1, 0, 1),  # all but one would be none
        (2, 0, 1),
        (3, 0, 2),
        (10, 0, 9),
        (3, 3, 3),
        (3, 1, 1),
    ],
)
def test_replies_needed(clients: int, asked: int, needed: int) -> None:
    assert resolved(clients=clients, min_replies=asked).min_replies == needed


@pytest.mark.parametrize("optimizer", [row[0] for row in TABLE])
def test_resolving_again_changes_nothing(optimizer: str) -> None:
    """Nor does the plan of a machine with other cores, so that a resolved run can be repeated."""
    config = resolved(optimizer=optimizer, clients=4, partition="dirichlet", seed=3)
    again = resolve(config, dataset="ham10000", device="cpu", threads_per_client=16)
    assert again == config


# The study's backbones: the table without the demos' resnet18 and the image towers of CLIP.
STUDY_BACKBONES = [
    name for name in BACKBONES if name != "resnet18" and not name.startswith("clip-")
]
STUDY_TEXT_ENCODERS = ("ViT-L/14", "RN50x16", "RN50x64")


def test_the_multimodal_experiments() -> None:
    """12 backbones, three text encoders and two data sets: 72, each with the study's settings."""
    combinations = list(product(STUDY_BACKBONES, STUDY_TEXT_ENCODERS, ("ham10000", "brats2019")))
    assert len(combinations) == 72
    for backbone, text_encoder, dataset in combinations:
        config = resolved(
            dataset=dataset, objective="clip", backbone=backbone, text_encoder=text_encoder
        )
        assert (config.dataset, config.optimizer, config.batch_size) == (dataset, "adagrad", 16)
        assert (config.learning_rate, config.weight_decay) == (0.001, 0.0005)
        assert (config.epochs, config.image_size, config.pretrained) == (50, 224, True)


def test_the_federated_experiments() -> None:
    """12 backbones, five optimizers and two strategies: 120."""
    combinations = list(product(STUDY_BACKBONES, TABLE, ("fedavg", "fedprox")))
    assert len(combinations) == 120
    for backbone, (optimizer, rate, decay, betas), strategy in combinations:
        config = resolved(backbone=backbone, optimizer=optimizer, strategy=strategy)
        assert (config.learning_rate, config.weight_decay) == (rate, decay)
        assert (config.beta1, config.beta2) == betas
        assert (config.batch_size, config.clients, config.rounds) == (32, 3, 50)
        assert (config.local_epochs, config.aggregation_weights) == (1, "equal")


def test_the_experiments_with_heads() -> None:
    """12 networks, each beside KNN and SVM: 36 bars, from 12 runs with the study's settings."""
    assert len(list(product(STUDY_BACKBONES, ("network", "knn", "svm")))) == 36
    for backbone in STUDY_BACKBONES:
        config = resolved(backbone=backbone)
        assert (config.objective, config.optimizer, config.batch_size) == ("classifier", "sgd", 32)
        settings = head_settings(config)
        assert (settings.neighbors, settings.c, settings.gamma) == (5, 1.0, "scale")
        assert not settings.tune


def test_a_method_whose_formula_needs_many_replies_waits_for_them() -> None:
    """2f + 3 with f = 1 are five, and 0 means all but one otherwise."""
    keys = {"strategy": "krum", "byzantine_clients": 1}
    assert [resolved(clients=n, **keys).min_replies for n in (5, 6, 9)] == [5, 5, 8]


def test_replies_needed_of_a_sample() -> None:
    assert resolved(clients=10, clients_per_round=4).min_replies == 3
    assert resolved(clients=10, clients_per_round=1).min_replies == 1
    assert resolved(clients=10, clients_per_round=4, min_replies=4).min_replies == 4
