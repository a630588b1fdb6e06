"""Every pair of trainable and wire-format, for both objectives and every method, resumed."""

from pathlib import Path

import pytest

from fl_server.federated_run import RunFailed
from strategies.methods import METHODS
from tests.fl_server.clients_in_memory import ROUNDS, Clients, run_in_memory
from training.run_folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("flower_run")]

TRAINABLE = ("all", "head", "adapter", "lora")
WIRE_FORMATS = ("float32", "bfloat16", "int8")
STRATEGIES = tuple(name for name, method in METHODS.items() if not method.pooled)
# Of every two of the first three keys all pairs of values occur, and every strategy; make soak runs
# all combinations.
COMBINATIONS = [
    {
        "objective": ("classifier", "clip")[(n // 2 + n // 4) % 2],
        "trainable": TRAINABLE[n % 4],
        "wire_format": WIRE_FORMATS[n // 4 % 3],
        # Shifted by one: FedPer with a trained head alone would share nothing.
        "strategy": STRATEGIES[(n + 1) % len(STRATEGIES)],
    }
    for n in range(max(12, len(STRATEGIES)))
]


def test_every_method_is_among_them() -> None:
    assert {settings["strategy"] for settings in COMBINATIONS} == {*STRATEGIES}


@pytest.mark.parametrize("settings", COMBINATIONS, ids=lambda settings: "-".join(settings.values()))
def test_a_run_that_failed_goes_on_to_the_same_weights(
    synthetic_ham: Path, cache: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    """The others have trained in the last round already, and their states are a round ahead."""
    optimizer = "sgd" if METHODS[settings["strategy"]].sgd_only else "adam"
    states = {"optimizer": optimizer, "client_optimizer": "persistent"}
    # LoRA wants linear layers, which resnet18 has none of.
    backbone = "convnext_t" if settings["trainable"] == "lora" else "resnet18"
    changes = {**states, **settings, "backbone": backbone}
    undisturbed = run_in_memory(synthetic_ham, cache, tmp_path / "undisturbed", **changes)
    out = tmp_path / "failed"
    with pytest.raises(RunFailed, match='client-1: "not today"'):
        run_in_memory(synthetic_ham, cache, out, Clients(refuses=ROUNDS), **changes)
    assert len(RunFolder(out).rounds()) < ROUNDS
    found = run_in_memory(synthetic_ham, cache, out, **changes)
    assert found["weights_sha256"] == undisturbed["weights_sha256"]
