from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import UNCHANGED, Recorder, plain_split, random_split, same_bits, state_of
from tests.training.epochs import (
    FEATURES,
    SIDE,
    judge,
    logits_of,
    softmax,
    torch_seed,  # noqa: F401
    train,
)
from training.epoch import _order, batch_slices, train_epoch
from training.errors import TrainingError
from training.split import Split


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
