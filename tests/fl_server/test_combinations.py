"""Runs that fail and go on, with every two of objective, trained part, wire format and method."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak_combinations import sample
from fl_server.federated_run import RunFailed
from tests.fl_server.clients_in_memory import Clients, run_in_memory
from tests.support import BACKBONE
from training.run_folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("flower_run")]


ROUNDS = 2


@pytest.mark.parametrize("settings", sample(), ids=lambda settings: "-".join(settings.values()))
def test_a_run_that_failed_goes_on_to_the_same_weights(
    synthetic_ham: Path, cache: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    """The others have trained in the last round already, and their states are a round ahead."""
    changes: dict[str, Any] = {"optimizer": "adam", "client_optimizer": "persistent"}
    changes |= {"rounds": ROUNDS}
    changes |= {key.replace("-", "_"): value for key, value in settings.items()}
    # timm's smallest networks; one has BatchNorm, the other what LoRA needs, linear layers.
    changes["backbone"] = "timm:test_convnext" if settings["trainable"] == "lora" else BACKBONE
    undisturbed = run_in_memory(synthetic_ham, cache, tmp_path / "undisturbed", **changes)
    out = tmp_path / "failed"
    with pytest.raises(RunFailed, match='client-1: "not today"'):
        run_in_memory(synthetic_ham, cache, out, Clients(refuses=ROUNDS), **changes)
    assert len(RunFolder(out).rounds()) < ROUNDS
    found = run_in_memory(synthetic_ham, cache, out, **changes)
    assert found["weights_sha256"] == undisturbed["weights_sha256"]
