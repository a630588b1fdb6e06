import pytest
import torch
from torch import nn

from strategies.methods.fedprox import add_proximal_gradient


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def loss_of(model: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (6,), generator=generator)
    return nn.functional.cross_entropy(model(inputs), labels)


@pytest.mark.parametrize("mu", [0.01, 1.0, 30.0])
def test_gradient_is_that_of_the_penalised_loss(mu: float) -> None:
    """autograd of loss + (μ/2)‖w − w_glo‖², in float64, is the reference."""
    model, anchor = network(0), [p.detach() for p in network(1).parameters()]
    local = list(model.parameters())
    squared = sum((w - w0).square().sum() for w, w0 in zip(local, anchor, strict=True))
    expected = torch.autograd.grad(loss_of(model) + mu / 2 * squared, local)

    before = [w0.clone() for w0 in anchor]
    weights = [w.detach().clone() for w in local]
    loss_of(model).backward()
    add_proximal_gradient(local, anchor, mu)
    for w, gradient in zip(local, expected, strict=True):
        torch.testing.assert_close(w.grad, gradient, rtol=1e-13, atol=1e-15)
    # Neither the weights nor what they are pulled towards is moved.
    assert all(torch.equal(a, b) for a, b in zip(anchor, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(local, weights, strict=True))


def test_worked_example() -> None:
    """w = 3, w_glo = 1, gradient 2: 2 + 0.5·(3 − 1) = 3."""
    w = nn.Parameter(torch.tensor([3.0]))
    w.grad = torch.tensor([2.0])
    add_proximal_gradient([w], [torch.tensor([1.0])], 0.5)
    assert w.grad.item() == 3.0


def test_without_mu_nothing_is_touched() -> None:
    """Not even a 0·(w − w_glo), which would turn -0.0 into 0.0 and infinity into NaN."""
    w, frozen = nn.Parameter(torch.tensor([float("inf"), 1.0])), nn.Parameter(torch.ones(1))
    gradient = torch.tensor([1.0, -0.0])
    w.grad = gradient
    add_proximal_gradient([w, frozen], [torch.zeros(2), torch.zeros(1)], 0)
    assert w.grad is gradient
    assert gradient.numpy().tobytes() == torch.tensor([1.0, -0.0]).numpy().tobytes()
    assert frozen.grad is None


def test_at_the_global_weights_there_is_no_pull() -> None:
    w = nn.Parameter(torch.tensor([3.0, -2.0]))
    w.grad = torch.tensor([0.25, -1.0])
    add_proximal_gradient([w], [w.detach().clone()], 100.0)
    assert w.grad.tolist() == [0.25, -1.0]


def test_a_parameter_without_gradient_is_pulled_too() -> None:
    """μ(w − w_glo) = 2·(3 − 1) = 4 is the whole gradient of a parameter outside the loss."""
    w = nn.Parameter(torch.tensor([3.0]))
    add_proximal_gradient([w], [torch.tensor([1.0])], 2.0)
    assert w.grad is not None
    assert w.grad.tolist() == [4.0]


def test_an_exhausted_or_shorter_list_is_an_error() -> None:
    w = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="shorter"):
        add_proximal_gradient([w], [], 1.0)
