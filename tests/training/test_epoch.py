from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import nn

from tests.support import UNCHANGED, Recorder, plain_split, random_split, same_bits, state_of
from training.epoch import Evaluation, _order, batch_slices, evaluate, train_epoch
from training.errors import TrainingError
from training.split import Split

SIDE = UNCHANGED.image_size
FEATURES = 3 * SIDE * SIDE


@pytest.fixture(autouse=True)
def torch_seed() -> Iterator[None]:
    """Models here draw their first weights from the global generator; give it back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def train(
    model: nn.Module, split: Split, *, seed: int = 0, rate: float = 0.1, **more: Any
) -> float:
    settings = {"batch_size": 4, "weight_decay": 0.0, **more}
    decay = settings.pop("weight_decay")
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    return train_epoch(
        model, split, optimizer, preprocessing=UNCHANGED, generator=generator, **settings
    )


def judge(model: nn.Module, split: Split, batch_size: int = 4, classes: int = 3) -> Evaluation:
    return evaluate(
        model, split, num_classes=classes, batch_size=batch_size, preprocessing=UNCHANGED
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def logits_of(model: Recorder, split: Split) -> np.ndarray:
    """Of unchanged images, computed apart in float64."""
    pixels = split.images[split.indices].transpose(0, 3, 1, 2).reshape(len(split), -1) / 255
    weight, bias = (p.detach().double().numpy() for p in model.linear.parameters())
    return pixels @ weight.T + bias


@pytest.mark.parametrize(
    "num_examples, batch_size, sizes",
    [
        (2, 32, [2]),
        (4, 2, [2, 2]),  # exact multiples stay
        (64, 32, [32, 32]),
        (5, 2, [2, 3]),  # a last one joins the batch before it
        (33, 32, [33]),
        (65, 32, [32, 33]),
        (34, 32, [32, 2]),  # a last two do not
        (3, 2, [3]),
        (31, 32, [31]),
        (6009, 32, [32] * 187 + [25]),  # HAM10000 whole, 60 %
    ],
)
def test_batches(num_examples: int, batch_size: int, sizes: list[int]) -> None:
    slices = list(batch_slices(num_examples, batch_size))
    assert [part.stop - part.start for part in slices] == sizes
    assert [row for part in slices for row in range(num_examples)[part]] == [*range(num_examples)]


@pytest.mark.parametrize("batch_size", [2, 3, 7, 32])
def test_no_batch_is_of_one_and_every_other_is_full(batch_size: int) -> None:
    for num_examples in range(2, 4 * batch_size):
        sizes = [s.stop - s.start for s in batch_slices(num_examples, batch_size)]
        assert sum(sizes) == num_examples
        assert set(sizes[:-1]) <= {batch_size}
        assert 2 <= sizes[-1] <= batch_size + 1


@pytest.mark.parametrize("num_examples", [0, 1])
def test_fewer_than_two_images_are_refused(num_examples: int) -> None:
    message = f"^training needs at least two images, but there are {num_examples}$"
    with pytest.raises(TrainingError, match=message):
        list(batch_slices(num_examples, 4))
    with pytest.raises(TrainingError, match=message):
        train(Recorder(FEATURES, 3), random_split(num_examples, side=SIDE))


def test_batch_norm_trains_on_nine_images_in_batches_of_four() -> None:
    """It raises on a single image, the ninth; 4 + 5 are two steps."""
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, 3))
    train(model, random_split(9, side=SIDE))
    assert model[1].num_batches_tracked.item() == 2
    with pytest.raises(ValueError, match="more than 1 value"):
        model.train()(torch.zeros(1, 3, SIDE, SIDE))


def test_a_full_batch_step_of_sgd_is_that_computed_by_hand() -> None:
    """Cross-entropy's gradient by the logits is (softmax − one-hot)/n, so with weight decay λ
    W' = W − η((P − Y)ᵀX/n + λW) and b' = b − η(Σ(P − Y)/n + λb), here in float64.

    Images of one grey value each, since crops and flips do not change them.
    """
    split = plain_split([10, 250, 100, 180, 40], [0, 2, 1, 2, 0])
    model = Recorder(FEATURES, 3)
    rate, decay, n = 0.5, 0.1, len(split)
    weight, bias = (p.detach().double().numpy().copy() for p in model.linear.parameters())
    error = (softmax(logits_of(model, split)) - np.eye(3)[split.labels]) / n
    pixels = np.repeat(split.images[:, 0, 0, :1] / 255, FEATURES, axis=1)

    train(model, split, rate=rate, batch_size=n, weight_decay=decay)
    # Float32 keeps 2^-24 of values below 1 and of each of the few terms that are added.
    expected = weight - rate * (error.T @ pixels + decay * weight)
    assert model.linear.weight.detach().numpy() == pytest.approx(expected, abs=1e-6)
    expected = bias - rate * (error.sum(axis=0) + decay * bias)
    assert model.linear.bias.detach().numpy() == pytest.approx(expected, abs=1e-6)
    assert np.abs(error.T @ pixels).max() > 0.1  # the step is far above the tolerance


def test_every_image_is_seen_once_in_an_epoch_in_another_order_each_time() -> None:
    """A split's own images only: the grey value tells which image a network was shown."""
    whole = plain_split(range(0, 250, 5), [0] * 50)
    split = Split(whole.images, whole.labels, np.arange(1, 50, 2))
    model = Recorder(FEATURES, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        model.batches.clear()
        train_epoch(
            model,
            split,
            optimizer,
            batch_size=4,
            preprocessing=UNCHANGED,
            generator=generator,
        )
        seen = torch.cat(model.batches)[:, 0, 0, 0] * 255
        orders.append(seen.round().int().tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(5, 250, 10))
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_training_happens_in_training_mode() -> None:
    model = Recorder(FEATURES, 3).eval()
    train(model, random_split(9, side=SIDE))
    assert model.modes == [(True, True)] * 2
    assert model.training


def test_labels_belong_to_their_images() -> None:
    """Dark images are class 0 and bright ones class 1, and a few epochs tell them apart."""
    split = plain_split([0, 5, 10, 245, 250, 255], [0, 0, 0, 1, 1, 1])
    model = Recorder(FEATURES, 2)
    for seed in range(60):
        train(model, split, seed=seed, rate=0.05, batch_size=2)
    assert judge(model, split, classes=2).images.confusion.tolist() == [[3, 0], [0, 3]]


def test_the_generator_alone_decides() -> None:
    split, start = random_split(11, side=SIDE + 3), Recorder(FEATURES, 3).state_dict()

    def trained(seed: int, global_seed: int) -> dict[str, np.ndarray]:
        model = Recorder(FEATURES, 3)
        model.load_state_dict(start)
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002, it is what must not matter
        before = torch.get_rng_state()
        train(model, split, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return state_of(model)

    assert same_bits(trained(5, 1), trained(5, 2))
    assert not same_bits(trained(5, 1), trained(6, 1))


def test_the_loss_is_the_mean_over_images_not_over_batches() -> None:
    """Five images in batches of 2 and 3; without a learning rate the model stays the same."""
    split = plain_split([0, 60, 120, 180, 240], [0, 1, 2, 0, 1])
    model = Recorder(FEATURES, 3)
    truth = softmax(logits_of(model, split))[np.arange(5), split.labels]
    assert train(model, split, rate=0.0, batch_size=2) == pytest.approx(
        -np.log(truth).mean(), rel=1e-6
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(bad: float) -> None:
    model = Recorder(FEATURES, 3)
    nn.init.constant_(model.linear.bias, bad)
    with pytest.raises(TrainingError, match=r"^the training loss was nan before the first step: "):
        train(model, random_split(4, side=SIDE))


def test_a_rate_that_is_too_large_is_told_from_weights_that_were_spoiled() -> None:
    """Seven steps of 10³⁸ leave float32, from a loss near ln 3."""
    model = Recorder(FEATURES, 3)
    said = r"^the training loss became (nan|inf), after \S+ in the first batch; try a smaller"
    with pytest.raises(TrainingError, match=said):
        train(model, random_split(14, side=SIDE), rate=1e38, batch_size=2)


def test_before_step_is_called_once_a_step_between_backward_and_the_step() -> None:
    model = Recorder(FEATURES, 3)
    seen: list[tuple[bool, np.ndarray]] = []

    def before_step() -> None:
        seen.append(
            (bool(model.linear.weight.grad.any()), model.linear.weight.detach().numpy().copy())
        )
        if len(seen) == 3:
            for parameter in model.parameters():
                parameter.grad.zero_()

    split, start = random_split(12, side=SIDE), model.linear.weight.detach().numpy().copy()
    train(model, split, before_step=before_step)
    assert (seen[0][1] == start).all()
    assert [has_gradient for has_gradient, _ in seen] == [True] * 3
    # The steps one and two moved the weights; in the third the gradient was taken away.
    assert (seen[0][1] != seen[1][1]).any()
    assert (seen[1][1] != seen[2][1]).any()
    assert (seen[2][1] == model.linear.weight.detach().numpy()).all()


def test_gradients_do_not_pile_up_over_steps() -> None:
    """Two equal batches without a learning rate: the second gradient is the first, not twice it."""
    model = Recorder(FEATURES, 3)
    norms: list[float] = []
    record: Callable[[], None] = lambda: norms.append(  # noqa: E731
        float(model.linear.weight.grad.norm())
    )
    train(model, plain_split([90] * 8, [1] * 8), rate=0.0, before_step=record)
    assert norms[0] == norms[1] > 0


def test_evaluation_is_scikit_learns() -> None:
    """On some rows of a store, out of order, with one class that does not occur among them."""
    rng = np.random.default_rng(0)
    store = random_split(40, side=SIDE, classes=3)
    split = Split(store.images, store.labels, rng.permutation(40)[:21])
    model = Recorder(FEATURES, 4)
    found = judge(model, split, classes=4)
    labels, expected = split.labels[split.indices], softmax(logits_of(model, split))

    assert found.images.probabilities.dtype == np.float32
    assert found.images.probabilities == pytest.approx(expected, abs=1e-6)
    assert found.images.probabilities.sum(axis=1) == pytest.approx(np.ones(21), abs=1e-6)
    answers = expected.argmax(axis=1)
    assert len(set(answers)) > 1
    confusion = sklearn.confusion_matrix(labels, answers, labels=range(4))
    assert (found.images.confusion == confusion).all()
    loss = sklearn.log_loss(labels, expected, labels=range(4))
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_evaluation_is_in_eval_mode_without_gradients_and_changes_nothing() -> None:
    model = Recorder(FEATURES, 3).train()
    judge(model, random_split(9, side=SIDE))
    assert model.modes == [(False, False)] * 3
    assert not model.training
    assert model.linear.weight.grad is None

    norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, 3))
    before = state_of(norm)
    judge(norm, random_split(9, side=SIDE))  # 4 + 4 + 1: one image is no trouble here
    assert same_bits(before, state_of(norm))


def test_an_empty_split() -> None:
    found = judge(Recorder(FEATURES, 3), random_split(0, side=SIDE))
    assert found.images.probabilities.shape == (0, 3)
    assert found.images.confusion.tolist() == [[0] * 3] * 3
    assert found.loss == 0.0


@pytest.mark.parametrize("batch_size", [1, 4, 10, 11, 100])
def test_the_batch_size_of_an_evaluation_does_not_matter(batch_size: int) -> None:
    model, split = Recorder(FEATURES, 3), random_split(11, side=SIDE)
    found, expected = judge(model, split, batch_size), judge(model, split, 11)
    assert found.images.probabilities == pytest.approx(expected.images.probabilities, abs=1e-6)
    assert (found.images.confusion == expected.images.confusion).all()
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_the_first_class_wins_a_tie() -> None:
    model = Recorder(FEATURES, 3)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    split = plain_split([1, 2, 3], [0, 1, 2])
    found = judge(model, split)
    assert found.images.confusion.tolist() == [[1, 0, 0]] * 3
    assert found.loss == pytest.approx(np.log(3), rel=1e-6)


def test_certainty_does_not_make_the_loss_infinite() -> None:
    """Logits 0 and 200, truth 0: −log softmax = 200, though the probability e^−200 underflows."""
    model = Recorder(FEATURES, 2)
    nn.init.zeros_(model.linear.weight)
    with torch.no_grad():
        model.linear.bias.copy_(torch.tensor([0.0, 200.0]))
    found = judge(model, plain_split([1], [0]), classes=2)
    assert found.loss == pytest.approx(200.0, rel=1e-6)


def test_patients_are_judged_where_they_are_known() -> None:
    """Three slices of two patients, on some rows of a store; class 0 where an image is dark."""
    model = Recorder(FEATURES, 2)
    nn.init.zeros_(model.linear.weight)
    nn.init.zeros_(model.linear.bias)
    with torch.no_grad():
        # Logit of class 1: the mean of the pixels in 0 … 1, times 4, less 2.
        model.linear.weight[1] = 4 / FEATURES
        model.linear.bias[1] = -2.0
    store = plain_split([255, 0, 204, 102], [0, 0, 1, 1])
    split = replace(store, indices=np.array([3, 1, 2]), patients=np.array([9, 4, 8, 8]))
    found = judge(model, split, classes=2)
    # Slices 3 and 2 of patient 8 have the logits -0.4 and 1.2: by slice one is wrong.
    assert found.images.confusion.tolist() == [[1, 0], [1, 1]]
    # Their mean probability is (0.40 + 0.77)/2 = 0.58: by patient none is.
    assert found.patients is not None
    assert found.patients.confusion.tolist() == [[1, 0], [0, 1]]
    assert judge(model, store, classes=2).patients is None


def test_answers_that_are_no_numbers_are_refused() -> None:
    model = Recorder(FEATURES, 3)
    nn.init.constant_(model.linear.bias, float("nan"))
    with pytest.raises(TrainingError, match="not finite numbers: its training has diverged"):
        judge(model, random_split(3, side=SIDE))


def test_the_balanced_sampler_draws_classes_equally_often() -> None:
    """Of 90 images of class 0 and 10 of class 1, each class is half of an epoch on average."""
    split = random_split(100)
    split.labels[:] = np.arange(100) >= 90
    generator = torch.Generator().manual_seed(0)
    orders = [_order(split, "balanced", generator) for _ in range(100)]
    drawn = split.labels[split.indices[torch.cat(orders).numpy()]]
    assert len(drawn) == 10_000
    assert abs(drawn.mean() - 0.5) < 0.02  # four standard deviations
    repeated = _order(split, "balanced", torch.Generator().manual_seed(0))
    assert torch.equal(repeated, orders[0])
    assert sorted(_order(split, "shuffled", generator).tolist()) == list(range(100))
