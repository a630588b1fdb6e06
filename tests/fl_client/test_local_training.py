from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_training import evaluate_locally, train_locally
from strategies.arrays import to_record, views
from tests.support import (
    BACKBONE,
    assert_same_bits,
    first_weights,
    make_client,
    make_config,
    make_text,
    same_bits,
    state_of,
)
from training.errors import TrainingError
from training.predictions import read_predictions
from training.task import Task

Weights = dict[str, NDArray]
# Twelve training images in batches of eight: 8 + 4.
STEPS = 2


@pytest.fixture(scope="module")
def received() -> Weights:
    return first_weights()


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return make_client(tmp_path)


def pulled(client: Client, mu: float) -> Client:
    """The client under FedProx."""
    return replace(client, config=client.config.replace(strategy="fedprox", proximal_mu=mu))


def settings(round_number: int = 1, index: int = 0) -> dict[str, Any]:
    return {"round": round_number, "client-index": index}


def parameters(weights: Weights) -> Weights:
    """Without BatchNorm's running statistics, which no gradient moves."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {name: array for name, array in weights.items() if not name.endswith(buffers)}


def distance(ours: Weights, theirs: Weights) -> float:
    return float(
        np.sqrt(sum(np.square(a - theirs[name]).sum() for name, a in parameters(ours).items()))
    )


def test_the_reply_has_the_shape_of_what_was_received(client: Client, received: Weights) -> None:
    trained, metrics = train_locally(client, received, settings())
    assert {n: (a.dtype, a.shape) for n, a in trained.items()} == {
        n: (a.dtype, a.shape) for n, a in received.items()
    }
    assert all((a != received[n]).any() for n, a in parameters(trained).items())
    # Every step counts one batch, in an integer without dimensions.
    counter = trained["trunk.bn1.num_batches_tracked"]
    assert (counter.dtype, counter.shape, int(counter)) == (np.int64, (), STEPS)
    assert metrics["num-examples"] == 12
    assert metrics["optimizer-round"] == 0
    assert np.isfinite(metrics["train-loss"])
    assert metrics["seconds-training"] > 0
    assert not client.folder.exists()


def test_equal_inputs_give_equal_bits(client: Client, received: Weights) -> None:
    """Whatever the process drew before; another round, client or seed draws otherwise."""
    first, metrics = train_locally(client, received, settings())
    torch.manual_seed(99)
    torch.rand(7)
    again, more = train_locally(client, received, settings())
    assert_same_bits(again, first)
    assert more["train-loss"] == metrics["train-loss"]

    other_seed = make_client(client.folder.parent, make_config(seed=1))
    for other in (
        train_locally(client, received, settings(round_number=2)),
        train_locally(client, received, settings(index=1)),
        train_locally(other_seed, received, settings()),
    ):
        assert not same_bits(other[0], first)


def test_local_epochs_are_that_many_passes(tmp_path: Path, received: Weights) -> None:
    client = make_client(tmp_path, make_config(local_epochs=3))
    trained, metrics = train_locally(client, received, settings())
    assert int(trained["trunk.bn1.num_batches_tracked"]) == 3 * STEPS
    assert metrics["num-examples"] == 12


def test_fedprox_without_mu_is_fedavg_to_the_bit(client: Client, received: Weights) -> None:
    fedavg, _ = train_locally(client, received, settings())
    fedprox, _ = train_locally(pulled(client, 0.0), received, settings())
    assert_same_bits(fedprox, fedavg)


def test_fedprox_of_a_single_step_is_fedavg(tmp_path: Path, received: Weights) -> None:
    """The pull μ(w − w_glo) is zero before the first step."""
    client = make_client(tmp_path, num_train=8)
    fedavg, _ = train_locally(client, received, settings())
    fedprox, _ = train_locally(pulled(client, 10.0), received, settings())
    assert int(fedavg["trunk.bn1.num_batches_tracked"]) == 1
    assert all(np.array_equal(fedprox[n], a) for n, a in fedavg.items())


def test_the_larger_mu_the_nearer_to_the_global_weights(tmp_path: Path) -> None:
    """Step one feels no pull, so after step two w(μ) = w(0) − ημ(w₁ − w_glo), linear in μ.

    Each of w(μ) is rounded to 2^-24 of its size, 3 at most here: to 2e-7, far below the pull. Two
    steps move every weight of resnet18, but not of the smaller network.
    """
    config = make_config(backbone="resnet18")
    client, received = make_client(tmp_path, config), state_of(Task(config, 3).build())
    w0, w20, w40 = (
        parameters(train_locally(pulled(client, mu), received, settings())[0])
        for mu in (0.0, 20.0, 40.0)
    )
    assert distance(w0, received) > distance(w20, received) > distance(w40, received) > 0
    for name, array in w0.items():
        pull = w20[name] - array
        assert np.abs(w40[name] - array - 2 * pull).max() <= 1e-6, name
        assert np.abs(pull).max() > 1e-5, name


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_what_was_received_is_left_as_it_was(client: Client, received: Weights, mu: float) -> None:
    """The model trains in memory of its own: the received bytes are FedProx's anchor."""
    before = {name: array.copy() for name, array in received.items()}
    trained, _ = train_locally(pulled(client, mu), received, settings())
    assert_same_bits(received, before)
    assert not any(np.shares_memory(a, received[name]) for name, a in trained.items())


def test_the_received_model_is_validated_from_round_two_on(
    client: Client, received: Weights
) -> None:
    """Before training: the figures are those of the received weights, not of the answer."""
    _, first = train_locally(client, received, settings(round_number=1))
    assert not [name for name in first if "validation" in name]
    trained, second = train_locally(client, received, settings(round_number=2))
    expected = evaluate_locally(client, received, {"splits": "validation"})
    for name in ("validation-loss", "validation-confusion", "validation-examples"):
        assert second[name] == expected[name]
    after = evaluate_locally(client, trained, {"splits": "validation"})
    assert second["validation-loss"] != after["validation-loss"]
    assert second["seconds-validation"] > 0


def test_validating_does_not_change_the_training(client: Client, received: Weights) -> None:
    """Nor does an empty validation split."""
    trained, _ = train_locally(client, received, settings(round_number=2))
    empty = client.splits["train"].__class__(
        client.splits["train"].images, client.splits["train"].labels, np.arange(0)
    )
    without = replace(client, splits={**client.splits, "validation": empty})
    again, metrics = train_locally(without, received, settings(round_number=2))
    assert_same_bits(again, trained)
    assert metrics["validation-confusion"] == [0] * 9
    assert metrics["validation-examples"] == 0


def test_judging_several_splits(client: Client, received: Weights) -> None:
    """Five validation and six test images; the confusion matrix row by row, three by three."""
    metrics = evaluate_locally(client, received, {"splits": "validation,test"})
    assert metrics["num-examples"] == 5 + 6
    for split, size in (("validation", 5), ("test", 6)):
        assert metrics[f"{split}-examples"] == size
        counts = np.array(metrics[f"{split}-confusion"]).reshape(3, 3)
        labels = client.splits[split].labels
        assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    assert "train-confusion" not in metrics
    alone = evaluate_locally(client, received, {"splits": "test"})
    assert alone["test-loss"] == metrics["test-loss"]


def test_predictions_for_its_own_test_images_stay_in_its_folder(
    client: Client, received: Weights
) -> None:
    """With the lesions, so that intervals can draw a lesion's images together."""
    metrics = evaluate_locally(client, received, {**settings(), "splits": "validation,test"})
    (file,) = client.folder.glob("*.csv")
    assert file.name == "predictions-test.csv"
    table = read_predictions(file)
    assert table.columns.tolist() == ["image_id", "label", "lesion_id", "a", "b", "c"]
    assert table["image_id"].tolist() == ["0", "1", "2", "3", "4", "5"]
    assert table["lesion_id"].tolist() == [f"lesion-{index // 2}" for index in range(6)]
    confusion = np.zeros((3, 3), dtype=int)
    predicted = table[["a", "b", "c"]].to_numpy(np.float32).argmax(axis=1)
    np.add.at(confusion, (client.splits["test"].labels, predicted), 1)
    assert metrics["test-confusion"] == confusion.ravel().tolist()


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"head.bias": None}, r"Missing key\(s\) in state_dict: \"head.bias\""),
        ({"extra": np.zeros(1)}, r"Unexpected key\(s\) in state_dict: \"extra\""),
        ({"head.bias": np.zeros(7, np.float32)}, "size mismatch for head.bias"),
    ],
)
def test_weights_of_another_model_are_refused(
    client: Client, received: Weights, change: dict[str, NDArray | None], cause: str
) -> None:
    wrong = {n: a for n, a in {**received, **change}.items() if a is not None}
    message = rf"^the weights are not those of {BACKBONE}: [^\n]*{cause}[^\n]*$"
    with pytest.raises(TrainingError, match=message):
        train_locally(client, wrong, settings())
    with pytest.raises(TrainingError, match=message):
        evaluate_locally(client, wrong, {"splits": "test"})


def test_a_client_with_one_image_cannot_train(tmp_path: Path, received: Weights) -> None:
    with pytest.raises(TrainingError, match="at least two images, but there are 1"):
        train_locally(make_client(tmp_path, num_train=1), received, settings())


def test_weights_that_are_no_numbers_end_the_training(client: Client, received: Weights) -> None:
    spoiled = {**received, "head.bias": np.full(3, np.nan, np.float32)}
    with pytest.raises(TrainingError, match="loss was nan before the first step: the weights"):
        train_locally(client, spoiled, settings())


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_an_image_encoder_is_trained_against_the_given_text(tmp_path: Path, mu: float) -> None:
    """The reply carries the image encoder and nothing of the text; other text, other training."""
    config = make_config(objective="clip", strategy="fedprox", proximal_mu=mu)
    client = make_client(tmp_path, config)
    text, other = make_text(seed=0), make_text(seed=1)
    start = views(to_record(state_of(Task(config, 3, text).build())))
    trained, metrics = train_locally(client, start, settings(2), text)
    assert trained.keys() == start.keys()
    assert metrics["validation-examples"] == 5
    again, _ = train_locally(client, start, settings(2), text)
    assert_same_bits(again, trained)
    elsewhere, _ = train_locally(client, start, settings(2), other)
    assert not same_bits(elsewhere, trained)


def test_an_image_encoder_is_judged_against_the_text(tmp_path: Path) -> None:
    config = make_config(objective="clip")
    client, text = make_client(tmp_path, config), make_text()
    weights = state_of(Task(config, 3, text).build())
    found = evaluate_locally(client, weights, {"splits": "test"}, text)
    assert sum(found["test-confusion"]) == 6
    assert found["test-loss"] > 0
