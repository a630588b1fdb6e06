"""Estimates derived by hand; their constants are compared with the code that they describe."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from experiments.campaigns.estimate import (
    ROUND_SECONDS,
    ROUND_SECONDS_PER_GB,
    STARTING,
    ImageCounts,
    count_images,
    estimate,
    num_evaluations,
    store_bytes,
    trained_bytes,
)
from experiments.campaigns.step_times import StepTime
from tests.support import make_config
from training import optimizers
from training.config import ExperimentConfig, parse
from training.experiment_data import open_central_data, open_test_data

TIMES = StepTime(training=1.0, step=10.0, judging=0.1)
IMAGES = ImageCounts(training=1000, test=100, counted=True)
RESNET18 = 45_000_000
PREDICTIONS = 100 * 150


def config(**changes: Any) -> ExperimentConfig:
    return make_config(batch_size=16, epochs=2, rounds=2, **changes)


def test_seconds_of_a_centralized_run() -> None:
    """800 of 1000 images are trained on, in 50 batches of 16, and 200 validate.

    An epoch: 800 · 1 + 50 · 10 + 200 · 0.1 = 1320. The last model and the best are judged:
    2 · 100 · 0.1 = 20.
    """
    found = estimate("clip", config(optimizer="adagrad"), TIMES, IMAGES)
    assert found.seconds == pytest.approx(STARTING["clip"] + 2 * 1320 + 20)


def test_steps_are_fewer_if_they_take_several_batches() -> None:
    """50 batches, four to a step, are 13 steps; for each client of 13 batches they are four."""
    one, four = (config(optimizer="adagrad", accumulate_batches=number) for number in (1, 4))
    saved = 2 * (50 - 13) * 10
    assert seconds("clip", one) - seconds("clip", four) == pytest.approx(saved)
    saved = 2 * 3 * (13 - 4) * 10
    assert seconds("simulate", one) - seconds("simulate", four) == pytest.approx(saved)


def seconds(command: str, of: ExperimentConfig) -> float:
    return estimate(command, of, TIMES, IMAGES).seconds


def test_seconds_of_heads_hold_the_features_of_all_images() -> None:
    """1100 images are looked at once more: 110 seconds."""
    found = estimate("heads", config(), TIMES, IMAGES)
    assert found.seconds == pytest.approx(STARTING["heads"] + 2 * 1320 + 20 + 110)


def test_seconds_of_a_federated_run() -> None:
    """Each of 3 clients has 200 images to train on, in 13 batches of 16, two times a round.

    A round: 2 · (600 · 1 + 39 · 10) + 200 · 0.1 = 2000, and what a round of a model of 0.045 GB
    costs. At the end two models are judged on 200 test images and the global 100: 60.
    """
    found = estimate("simulate", config(local_epochs=2), TIMES, IMAGES)
    overhead = ROUND_SECONDS + 0.045 * ROUND_SECONDS_PER_GB
    assert found.seconds == pytest.approx(STARTING["simulate"] + 2 * (2000 + overhead) + 60)


def test_seconds_of_a_round_are_those_of_its_sample() -> None:
    """One of 3 clients: 200 · 1 + 13 · 10 for training and 67 · 0.1 for validating; all judge."""
    found = estimate("simulate", config(clients_per_round=1), TIMES, IMAGES)
    overhead = ROUND_SECONDS + 0.045 * ROUND_SECONDS_PER_GB
    a_round = 200 + 130 + 200 / 3 * 0.1 + overhead
    assert found.seconds == pytest.approx(STARTING["simulate"] + 2 * a_round + 60)


def test_brats_trains_on_seven_patients_of_eight() -> None:
    """The 7 and the 1 of 7:1:2: 875 slices in 55 batches, 125 validate."""
    brats = config().replace(dataset="brats2019", split_by="lesion", optimizer="sgd")
    found = estimate("clip", brats, TIMES, IMAGES)
    assert found.seconds == pytest.approx(8 + 2 * (875 + 550 + 12.5) + 20)


def test_bytes_of_a_federated_run_are_two_models_and_two_predictions() -> None:
    """While it runs, a third model is being written."""
    found = estimate("simulate", config(optimizer="adam"), TIMES, IMAGES)
    assert found.bytes == 2 * RESNET18 + 2 * PREDICTIONS
    assert found.passing == RESNET18


def test_bytes_of_optimizers_that_outlive_a_round() -> None:
    """Adam keeps two tensors for a parameter, three clients each, as many rounds as there were."""
    kept = config(optimizer="adam", client_optimizer="persistent")
    found = estimate("simulate", kept, TIMES, IMAGES)
    assert found.bytes == 2 * RESNET18 + 2 * 3 * (2 * RESNET18) + 2 * PREDICTIONS
    assert found.passing == RESNET18 + 3 * 2 * RESNET18


def test_a_federated_run_in_int8_keeps_what_it_left_over() -> None:
    """SGD keeps nothing; each client has three residuals of a model's size, and writes a fourth."""
    plain = estimate("simulate", config(optimizer="sgd"), TIMES, IMAGES)
    packed = config(optimizer="sgd").replace(wire_format="int8", rounds=50)
    found = estimate("simulate", packed, TIMES, IMAGES)
    assert found.bytes - plain.bytes == 3 * 3 * RESNET18
    assert found.passing - plain.passing == 3 * RESNET18


# resnet18 has 512 features; an adapter is 512 → 32 → 512, and a head leads to seven classes.
HEAD = 4 * (512 * 7 + 7)
ADAPTER = 4 * (512 * 32 + 32 + 32 * 512 + 512) + HEAD


def test_an_adapter_is_trained_on_features_that_are_computed_once() -> None:
    """600 images of the clients in a centre and four augmented views, 400 in one: 340 seconds.

    Then a round is 2 · (600 · 1 + 39 · 10) for training and 200 · 1 for validating, on features,
    and a thousandth of resnet18's gigabytes. At the end two models are judged on 200 features of
    test images and, through the trunk, on the global 100 images: 2 · (200 · 1 + 100 · 0.1).
    """
    part = config(local_epochs=2, trainable="adapter", augmented_views=4)
    found = estimate("simulate", part, TIMES, IMAGES)
    overhead = ROUND_SECONDS + ADAPTER / 1e9 * ROUND_SECONDS_PER_GB
    rounds = 2 * (2180 + overhead) + 420
    assert found.seconds == pytest.approx(STARTING["simulate"] + 340 + rounds)


def test_a_head_that_is_trained_in_one_place() -> None:
    """All 1000 images have features: 100 s. An epoch: 800 + 500 + 200; judged: 2 · 100 · 0.1."""
    found = estimate("clip", config(trainable="head"), TIMES, IMAGES)
    assert found.seconds == pytest.approx(STARTING["clip"] + 100 + 2 * 1500 + 20)


def test_lora_meets_images_in_every_round() -> None:
    part = config(backbone="convnext_t", trainable="lora")
    found = estimate("simulate", part, TIMES, IMAGES)
    overhead = ROUND_SECONDS + 2.14 / 1e3 * ROUND_SECONDS_PER_GB
    rounds = 2 * (600 + 390 + 20 + overhead) + 60
    assert found.seconds == pytest.approx(STARTING["simulate"] + rounds, abs=0.01)


@pytest.mark.parametrize(("trainable", "size"), [("head", HEAD), ("adapter", ADAPTER)])
def test_bytes_are_those_of_what_is_trained(trainable: str, size: int) -> None:
    """Two parts, their three clients' states and residuals in two rounds; of each one more."""
    part = config(optimizer="adam", client_optimizer="persistent", trainable=trainable)
    found = estimate("simulate", part.replace(wire_format="int8"), TIMES, IMAGES)
    assert found.bytes == 2 * size + 2 * 3 * (2 * size) + 2 * 3 * size + 2 * PREDICTIONS
    assert found.passing == size + 3 * 2 * size + 3 * size


def test_a_head_of_clip_leads_to_the_texts_width() -> None:
    """768 numbers of ViT-L/14."""
    part = config(objective="clip", trainable="head", optimizer="adagrad")
    assert trained_bytes(part.replace(text_encoder="ViT-L/14")) == 4 * (512 * 768 + 768)


@pytest.mark.parametrize(("epochs", "kept"), [(1, 1), (3, 3), (50, 3)])
def test_a_centralized_run_holds_three_optimizer_states_until_its_end(
    epochs: int, kept: int
) -> None:
    """Adagrad keeps one tensor for a parameter; another state and model are being written."""
    long = config(optimizer="adagrad").replace(epochs=epochs)
    found = estimate("clip", long, TIMES, IMAGES)
    assert found.bytes == 2 * RESNET18 + 2 * PREDICTIONS
    assert found.passing == (1 + kept + 1) * RESNET18


def test_bytes_of_heads_hold_features_and_what_the_heads_keep_of_them() -> None:
    """1100 images of 512 float32 numbers, three times; each head has its predictions."""
    found = estimate("heads", config(heads="knn,svm"), TIMES, IMAGES)
    assert found.bytes == 2 * RESNET18 + 4 * PREDICTIONS + 3 * 1100 * 512 * 4


def test_sgd_keeps_a_tensor_with_momentum_and_none_without() -> None:
    """Two epochs: two states, the one that is being written, and the model that is."""
    still, moving = (
        estimate("heads", config(momentum=momentum), TIMES, IMAGES) for momentum in (0.0, 0.9)
    )
    assert still.passing == RESNET18
    assert moving.passing == (1 + 2 + 1) * RESNET18


@pytest.mark.parametrize(
    "name, momentum", [*((name, 0.0) for name in optimizers.OPTIMIZERS), ("sgd", 0.9)]
)
def test_state_of_each_optimizer_is_as_large_as_said(name: str, momentum: float) -> None:
    weight = torch.nn.Parameter(torch.ones(10, 10))
    values = make_config(optimizer=name, momentum=momentum).to_flat()
    optimizer = optimizers.build_optimizer(values, [weight])
    weight.sum().backward()
    optimizer.step()
    tensors = [t for t in optimizer.state[weight].values() if t is not None and t.ndim]
    assert sum(t.numel() for t in tensors) == optimizers.state_tensors(values) * weight.numel()


def test_evaluations_are_the_network_and_its_heads() -> None:
    assert num_evaluations("clip", config()) == num_evaluations("simulate", config()) == 1
    assert num_evaluations("heads", config(heads="knn,svm")) == 3


def test_without_a_folder_the_images_are_the_studys() -> None:
    """HAM10000: 10,015 and 1,512. BraTS2019: 231 + 32 and 68 patients, 8 slices of each."""
    ham = parse({"dataset": "ham10000"})
    brats = parse({"dataset": "brats2019"})
    assert count_images(ham) == ImageCounts(10_015, 1_512, counted=False)
    assert count_images(brats) == ImageCounts(263 * 8, 68 * 8, counted=False)


@pytest.mark.parametrize("dataset", ["ham10000", "brats2019"])
def test_images_are_counted_as_a_run_will_find_them(
    dataset: str, synthetic_ham: Path, synthetic_brats: Path, tmp_path: Path
) -> None:
    """But for the slices of thin tumours that a run finds twice, and sets aside."""
    folder = synthetic_ham if dataset == "ham10000" else synthetic_brats
    run = parse({"data-dir": str(folder), "cache-dir": str(tmp_path), "image-size": 32})
    found = count_images(run)
    central, test_set = open_central_data(run), open_test_data(run)
    assert test_set is not None
    train, validation = central.split("train"), central.split("validation")
    assert found.counted
    assert found.training == pytest.approx(len(train) + len(validation), rel=0.05)
    assert found.test == pytest.approx(len(test_set.split), rel=0.05)
    room = central.store.images.nbytes
    if dataset == "ham10000":  # BraTS2019's test patients are in the same store
        room += test_set.split.images.nbytes
    assert store_bytes(32, found) == pytest.approx(room, rel=0.05)
    # And they are shared out as the estimate takes them to be.
    at_training, _ = find_dataset(dataset).study.central_shares
    assert len(train) == pytest.approx(at_training * found.training, rel=0.05)


def test_a_training_set_without_a_test_set_counts(synthetic_ham: Path, tmp_path: Path) -> None:
    for name in ("HAM10000_metadata.csv", "HAM10000_images_part_1", "HAM10000_images_part_2"):
        (tmp_path / name).symlink_to(synthetic_ham / name)
    found = count_images(parse({"data-dir": str(tmp_path)}))
    assert replace(found, training=0) == ImageCounts(0, 0, counted=True)


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path / "none")):
        count_images(parse({"data-dir": str(tmp_path / "none"), "dataset": "ham10000"}))
