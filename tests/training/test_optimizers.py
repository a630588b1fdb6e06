import pytest
import torch

from tests.support import make_config
from training.optimizers import build_optimizer


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
