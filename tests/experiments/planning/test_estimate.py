"""Estimates derived by hand; their constants are compared with the code that they describe."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from data_partition.datasets import find_dataset
from experiments.planning.estimate import (
    MESSAGE_SECONDS,
    ROUND_SECONDS,
    SECONDS_PER_GB,
    SMALL_RUN,
    STARTING,
    Estimate,
    Workers,
    estimate,
    num_evaluations,
    trained_bytes,
    workers,
)
from experiments.planning.features import feature_files
from experiments.planning.images import assumed
from experiments.planning.step_times import StepTime
from tests.support import make_config
from training import optimizers
from training.config import ExperimentConfig

TIMES = StepTime(
    training=1.0,
    step=10.0,
    judging=0.1,
    features=0.5,
    activations=0,
    measured=16,
    starting=SMALL_RUN,
)
HAM = find_dataset("ham10000")
RESNET18 = 45_000_000
PREDICTIONS = 100 * 150


def config(**changes: Any) -> ExperimentConfig:
    small = {"backbone": "resnet18", "batch_size": 16, "epochs": 2, "rounds": 2}
    return make_config(**small | changes)


def of(command: str, part: ExperimentConfig, **keys: Any) -> Estimate:
    """Of 1000 training and 100 test images, one client after the other."""
    images = assumed(command, part, find_dataset(part.dataset), 1000, 100)
    return estimate(command, part, TIMES, images, keys.pop("at_work", Workers()), **keys)


def message(gigabytes: float) -> float:
    return MESSAGE_SECONDS + gigabytes * SECONDS_PER_GB


def test_what_is_not_steps_takes_longer_on_a_slower_machine() -> None:
    """Twice as long for a small run: twice for the start, each round and each message."""
    part = config(clients=3)
    images = assumed("simulate", part, HAM, 1000, 100)
    quick, slow = (
        estimate("simulate", part, replace(TIMES, starting=of * SMALL_RUN), images, Workers())
        for of in (1, 2)
    )
    assert slow.starting == pytest.approx(2 * quick.starting)
    assert slow.a_round - quick.a_round == pytest.approx(ROUND_SECONDS + 3 * MESSAGE_SECONDS)
    assert slow.judging - quick.judging == pytest.approx(2 * (ROUND_SECONDS + 3 * MESSAGE_SECONDS))


def test_seconds_of_a_centralized_run() -> None:
    """800 of 1000 images are trained on, in 50 batches of 16, and 200 validate.

    An epoch: 800 · 1 + 50 · 10 + 200 · 0.1 = 1320. The last model and the best are judged:
    2 · 100 · 0.1 = 20.
    """
    found = of("clip", config(optimizer="adagrad"))
    assert (found.a_round, found.rounds, found.judging) == pytest.approx((1320, 2, 20))
    assert found.seconds == pytest.approx(STARTING["clip"] + 2 * 1320 + 20)


def test_steps_are_fewer_if_they_take_several_batches() -> None:
    """50 batches, four to a step, are 13 steps; for each client of 13 batches they are four."""
    one, four = (config(optimizer="adagrad", accumulate_batches=number) for number in (1, 4))
    saved = 2 * (50 - 13) * 10
    assert of("clip", one).seconds - of("clip", four).seconds == pytest.approx(saved)
    saved = 2 * 3 * (13 - 4) * 10
    assert of("simulate", one).seconds - of("simulate", four).seconds == pytest.approx(saved)


def test_seconds_of_heads_hold_the_features_of_all_images() -> None:
    """1100 images are looked at once more: 550 seconds."""
    found = of("heads", config())
    assert found.seconds == pytest.approx(STARTING["heads"] + 2 * 1320 + 20 + 550)


def test_seconds_of_a_federated_run() -> None:
    """Each of 3 clients has 200 images to train on, in 13 batches of 16, two times a round.

    A round: 2 · (600 · 1 + 39 · 10) + 200 · 0.1 = 2000, and what a round and three messages with a
    model of 0.045 GB cost. At the end two models are judged on 200 validation images, 200 test
    images and the global 100: 2 · 50.
    """
    found = of("simulate", config(local_epochs=2))
    messages = ROUND_SECONDS + 3 * message(0.045)
    assert found.a_round == pytest.approx(2000 + messages)
    assert found.judging == pytest.approx(2 * (50 + messages))
    assert found.seconds == pytest.approx(STARTING["simulate"] + 2 * found.a_round + found.judging)


def test_seconds_of_a_round_are_those_of_its_sample() -> None:
    """One of 3 clients: 200 · 1 + 13 · 10 for training and 67 · 0.1 for validating; all judge."""
    found = of("simulate", config(clients_per_round=1))
    assert found.a_round == pytest.approx(330 + 200 / 3 * 0.1 + ROUND_SECONDS + message(0.045))
    assert found.judging == of("simulate", config()).judging


def test_clients_side_by_side_share_the_cores_and_wait_for_the_slowest() -> None:
    """Three of 10 s on two cores take 15 s; one of 20 s and two of 1 s take 20 s."""
    pair = workers("simulate", config(), cores=2)
    assert (pair.at_once, pair.parallel, pair.server) == (3, 2.0, 2.0)
    assert pair.together([10.0, 10.0, 10.0]) == 15.0
    assert pair.together([20.0, 1.0, 1.0]) == 20.0
    assert workers("simulate", config(), cores=1) == Workers()


@pytest.mark.parametrize("method", ["ditto", "finetune", "pooled", "local"])
def test_methods_train_and_judge_more_or_less(method: str) -> None:
    """Of three clients with 200 images, 13 steps, 67 for validating, 67 for testing.

    Ditto trains two models, and judges both on the clients' test images. FineTune judges two, one
    of which is trained for an epoch before. Pooled trains one model on all 600 images, in 38
    steps, and asks all to validate. Local has one model at each client, and none for the test set.
    """
    part = config(strategy=method)
    found = of("simulate", part)
    model = 0.045
    messages = ROUND_SECONDS + 3 * message(model)
    an_epoch, judged = 990.0, 50.0
    if method == "ditto":
        rounds, judged = 2 * an_epoch + 20 + messages, judged + 20
    elif method == "finetune":
        rounds, judged = an_epoch + 20 + messages, judged + 20 + an_epoch
    elif method == "pooled":
        rounds = 600 + 380 + 20 + 2 * ROUND_SECONDS + 4 * message(model)
    else:
        rounds, judged = an_epoch + 20 + messages, judged - 10
    assert found.a_round == pytest.approx(rounds)
    assert found.judging == pytest.approx(2 * (judged + messages))


def test_brats_trains_on_seven_patients_of_eight() -> None:
    """The 7 and the 1 of 7:1:2: 875 slices in 55 batches, 125 validate."""
    brats = config().replace(dataset="brats2019", split_by="lesion", optimizer="sgd")
    found = of("clip", brats)
    assert found.seconds == pytest.approx(STARTING["clip"] + 2 * (875 + 550 + 12.5) + 20)


def test_bytes_of_a_federated_run_are_two_models_and_two_predictions() -> None:
    """While it runs, a third model is being written."""
    found = of("simulate", config(optimizer="adam"))
    assert found.bytes == 2 * RESNET18 + 2 * PREDICTIONS
    assert found.passing == RESNET18


@pytest.mark.parametrize("command", ["simulate", "clip"])
def test_a_moving_average_is_a_third_model(command: str) -> None:
    """It is kept and judged, and stored once more while it is written."""
    two, three = (of(command, config(optimizer="sgd", ema_decay=decay)) for decay in (0.0, 0.9))
    assert three.judging == pytest.approx(1.5 * two.judging)
    assert three.bytes - two.bytes == RESNET18 + PREDICTIONS
    assert three.passing - two.passing == RESNET18


def test_bytes_of_optimizers_that_outlive_a_round() -> None:
    """Adam keeps two tensors for a parameter, three clients each, as many rounds as there were."""
    kept = config(optimizer="adam", client_optimizer="persistent")
    found = of("simulate", kept)
    assert found.bytes == 2 * RESNET18 + 2 * 3 * (2 * RESNET18) + 2 * PREDICTIONS
    assert found.passing == RESNET18 + 3 * 2 * RESNET18


def test_a_federated_run_in_int8_keeps_what_it_left_over() -> None:
    """SGD keeps nothing; each client has three residuals of a model's size, and writes a fourth."""
    plain = of("simulate", config(optimizer="sgd"))
    packed = config(optimizer="sgd").replace(wire_format="int8", rounds=50)
    found = of("simulate", packed)
    assert found.bytes - plain.bytes == 3 * 3 * RESNET18
    assert found.passing - plain.passing == 3 * RESNET18


@pytest.mark.parametrize(
    ("strategy", "at_server", "newest", "best"),
    [
        ("fedprox", 0, 0, 0),
        ("fedavgm", 1, 0, 0),
        ("fedadam", 2, 0, 0),
        ("scaffold", 1, 1, 0),
        ("feddyn", 1, 1, 0),
        ("ditto", 0, 1, 1),
        ("local", 0, 1, 1),
    ],
)
def test_what_methods_keep_is_counted_at_the_server_and_at_each_client(
    strategy: str, at_server: int, newest: int, best: int
) -> None:
    """Three rounds of each client's, the best one's beside them, and a fourth while it is written;
    at a coordinator the clients' are elsewhere.
    """
    plain = of("simulate", config(optimizer="sgd", rounds=50))
    wanted = config(optimizer="sgd", rounds=50, strategy=strategy)
    found = of("simulate", wanted)
    assert found.bytes - plain.bytes == (at_server + 3 * (3 * newest + best)) * RESNET18
    assert found.passing - plain.passing == (at_server + 3 * newest) * RESNET18
    assert found.a_round > 0
    alone = of("simulate", wanted, with_clients=False)
    assert alone.bytes - plain.bytes == at_server * RESNET18


# resnet18 has 512 features; an adapter is 512 → 32 → 512, and a head leads to seven classes.
HEAD = 4 * (512 * 7 + 7)
ADAPTER = 4 * (512 * 32 + 32 + 32 * 512 + 512) + HEAD


def test_an_adapter_is_trained_on_features_that_are_computed_once() -> None:
    """600 images of the clients in a centre and four augmented views, 400 in one, 100 of the test
    set: 3500 views, 1750 seconds.

    Then a round is 2 · (600 · 1 + 39 · 10) for training and 200 · 0.1 for validating, on features.
    At the end two models are judged on 400 and 100 images' features: 2 · 50.
    """
    part = config(local_epochs=2, trainable="adapter", augmented_views=4)
    found = of("simulate", part)
    messages = ROUND_SECONDS + 3 * message(ADAPTER / 1e9)
    assert found.features == pytest.approx(1750)
    assert found.a_round == pytest.approx(2000 + messages)
    assert found.judging == pytest.approx(2 * (50 + messages))


def test_features_that_are_there_are_not_computed_again() -> None:
    """Those of the 100 test images are the same for every division; another seed divides anew."""
    part = config(trainable="head", pretrained=True)
    other = part.replace(seed=1)
    images = assumed("simulate", part, HAM, 1000, 100)
    kept = {file.identity for file in feature_files("simulate", part, images)}
    assert of("simulate", part).features == pytest.approx(550)
    assert of("simulate", part, kept=kept).features == 0
    assert of("simulate", part.replace(trainable="adapter"), kept=kept).features == 0
    assert of("simulate", other, kept=kept).features == pytest.approx(500)
    # Its first client has the training images of all; the other clients are as ever.
    together = config(trainable="head", pretrained=True, strategy="pooled")
    pooled = of("simulate", together, kept=kept)
    assert pooled.features == pytest.approx((600 + 400 / 3) * 0.5)


def test_a_head_that_is_trained_in_one_place() -> None:
    """All 1100 images have features: 550 s. An epoch: 800 + 500 + 20; judged: 2 · 100 · 0.1."""
    found = of("clip", config(trainable="head"))
    assert found.seconds == pytest.approx(STARTING["clip"] + 550 + 2 * 1320 + 20)


def test_lora_meets_images_in_every_round() -> None:
    found = of("simulate", config(backbone="convnext_t", trainable="lora"))
    assert found.features == 0
    messages = ROUND_SECONDS + 3 * message(2.14 / 1e3)
    assert found.a_round == pytest.approx(600 + 390 + 20 + messages, abs=0.01)


@pytest.mark.parametrize(("trainable", "size"), [("head", HEAD), ("adapter", ADAPTER)])
def test_bytes_are_those_of_what_is_trained(trainable: str, size: int) -> None:
    """Two parts, their three clients' states and residuals in two rounds; of each one more."""
    part = config(optimizer="adam", client_optimizer="persistent", trainable=trainable)
    found = of("simulate", part.replace(wire_format="int8"))
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
    found = of("clip", long)
    assert found.bytes == 2 * RESNET18 + 2 * PREDICTIONS
    assert found.passing == (1 + kept + 1) * RESNET18


def test_bytes_of_heads_hold_features_and_what_the_heads_keep_of_them() -> None:
    """1100 images of 512 float32 numbers, three times; each head has its predictions."""
    found = of("heads", config(heads="knn,svm"))
    assert found.bytes == 2 * RESNET18 + 4 * PREDICTIONS + 3 * 1100 * 512 * 4


def test_sgd_keeps_a_tensor_with_momentum_and_none_without() -> None:
    """Two epochs: two states, the one that is being written, and the model that is."""
    still, moving = (of("heads", config(momentum=momentum)) for momentum in (0.0, 0.9))
    assert still.passing == RESNET18
    assert moving.passing == (1 + 2 + 1) * RESNET18


@pytest.mark.parametrize(
    "name, momentum", [*((name, 0.0) for name in optimizers.OPTIMIZERS), ("sgd", 0.9)]
)
def test_state_of_each_optimizer_is_as_large_as_said(name: str, momentum: float) -> None:
    weight = torch.nn.Parameter(torch.ones(10, 10))
    values = make_config(backbone="resnet18", optimizer=name, momentum=momentum).to_flat()
    optimizer = optimizers.build_optimizer(values, [weight])
    weight.sum().backward()
    optimizer.step()
    tensors = [t for t in optimizer.state[weight].values() if t is not None and t.ndim]
    assert sum(t.numel() for t in tensors) == optimizers.state_tensors(values) * weight.numel()


def test_evaluations_are_the_network_and_its_heads() -> None:
    assert num_evaluations("clip", config()) == num_evaluations("simulate", config()) == 1
    assert num_evaluations("heads", config(heads="knn,svm")) == 3
