import pytest
import torch

from tests.support import make_config
from training.optimizers import OPTIMIZERS, build_optimizer


def built(**settings: object) -> torch.optim.Optimizer:
    return build_optimizer(make_config(**settings).to_flat(), torch.nn.Linear(2, 1).parameters())


# Learning rate, weight decay and betas are the study's; what it does not name is torch's default.
@pytest.mark.parametrize(
    "name, kind, expected",
    [
        (
            "sgd",
            torch.optim.SGD,
            {"lr": 0.01, "weight_decay": 0.0005, "momentum": 0, "nesterov": False},
        ),
        (
            "adam",
            torch.optim.Adam,
            {"lr": 0.001, "weight_decay": 0.02, "betas": (0.9, 0.98), "amsgrad": False},
        ),
        (
            "adamw",
            torch.optim.AdamW,
            {"lr": 0.001, "weight_decay": 0.02, "betas": (0.9, 0.98), "amsgrad": False},
        ),
        ("adagrad", torch.optim.Adagrad, {"lr": 0.001, "weight_decay": 0.0005, "lr_decay": 0}),
        ("adadelta", torch.optim.Adadelta, {"lr": 0.001, "weight_decay": 0.0005, "rho": 0.9}),
    ],
)
def test_the_studys_optimizers(
    name: str, kind: type[torch.optim.Optimizer], expected: dict[str, object]
) -> None:
    optimizer = built(optimizer=name)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert expected.items() <= group.items()
    assert len(group["params"]) == 2


def test_explicit_settings_reach_the_optimizer() -> None:
    (group,) = built(
        optimizer="adamw", learning_rate=0.5, weight_decay=0, beta1=0.1, beta2=0.2
    ).param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.5, 0.0, (0.1, 0.2))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_torchs_default_one_but_for_rounding_with_any_number_of_threads(
    name: str,
) -> None:
    """Sizes that are no multiple of a vector's width, and one that several threads divide."""
    config = make_config(optimizer=name, learning_rate=0.01)
    row = OPTIMIZERS[name]

    def trained(fused: bool, num_threads: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(n, generator=generator).requires_grad_() for n in (1, 7, 70_001)]
        if fused:
            optimizer = build_optimizer(config.to_flat(), weights)
        else:
            kind = getattr(torch.optim, row.torch_name)
            arguments = row.arguments(config.to_flat())
            optimizer = kind(weights, lr=0.01, weight_decay=row.weight_decay, **arguments)
        torch.set_num_threads(num_threads)
        for _ in range(4):
            for w in weights:
                w.grad = torch.randn(w.shape, generator=generator)
            optimizer.step()
        return [w.detach() for w in weights]

    before = torch.get_num_threads()
    ours, plain, alone = trained(True, 2), trained(False, 2), trained(True, 1)
    torch.set_num_threads(before)
    for one, default, single in zip(ours, plain, alone, strict=True):
        torch.testing.assert_close(one, default, rtol=1e-5, atol=1e-6)
        assert torch.equal(one, single)


def test_momentum_reaches_sgd() -> None:
    """Two steps of gradient 1 at 0.1 with momentum 0.9: w = 0 − 0.1·1 − 0.1·(0.9·1 + 1) = −0.29."""
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    config = make_config(optimizer="sgd", learning_rate=0.1, weight_decay=0, momentum=0.9)
    optimizer = build_optimizer(config.to_flat(), [w])
    for _ in range(2):
        w.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
    assert w.item() == pytest.approx(-0.29, rel=1e-14)


def test_an_sgd_step() -> None:
    """w = 2, gradient 3: w − lr·(g + wd·w) = 2 − 0.1·(3 + 0.5·2) = 1.6."""
    w = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer(
        make_config(optimizer="sgd", learning_rate=0.1, weight_decay=0.5).to_flat(), [w]
    )
    w.grad = torch.tensor([3.0], dtype=torch.float64)
    optimizer.step()
    assert w.item() == pytest.approx(1.6, rel=1e-15)
