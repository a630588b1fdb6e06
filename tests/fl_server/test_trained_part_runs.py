"""Whole simulated runs that train a part of the network, on a real SuperLink and Ray."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from fl_server.simulation import SimulationFailed
from fl_server.simulation_superlink import SuperLink
from tests.runs import run_tiny, tiny_config, warm_superlink
from training.network import base_sha256
from training.run_folder import RunFolder
from training.task import build_base

pytestmark = pytest.mark.slow

# resnet18: the head 512 → 7, the adapter 512 → 32 → 512.
HEAD = 7 * 512 + 7
ADAPTER = 32 * 512 + 32 + 512 * 32 + 512


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    with warm_superlink(tmp_path_factory.mktemp("superlink") / "flower.log") as shared:
        yield shared


# Adam and the augmented view are what an equal run must repeat, too.
CHANGES: dict[str, dict[str, Any]] = {
    "head": {"rounds": 2, "strategy": "fedprox"},
    "adapter": {"rounds": 2, "optimizer": "adam", "augmented_views": 1},
    "lora": {"rounds": 2, "backbone": "convnext_t"},
}
# convnext_t: 768 → 7, and 18 blocks of two layers d → 4d → d: 8 · 5d for each.
LORA = 7 * 768 + 7 + 2 * 8 * 5 * (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768)
NUM_PARAMETERS = {"head": HEAD, "adapter": HEAD + ADAPTER, "lora": LORA}


@pytest.fixture(scope="module")
def finished(
    superlink: SuperLink,
    synthetic_ham: Path,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], RunFolder]:
    """Folders of finished runs by ``trainable``, three clients side by side."""

    @lru_cache
    def run(trainable: str) -> RunFolder:
        out = tmp_path_factory.mktemp("runs") / trainable
        config = tiny_config(synthetic_ham, cache, trainable=trainable, **CHANGES[trainable])
        run_tiny(superlink, config, out, concurrency=3)
        return RunFolder(out)

    return run


@pytest.mark.parametrize("trainable", CHANGES)
def test_a_part_is_trained_and_sent(finished: Callable[[str], RunFolder], trainable: str) -> None:
    folder, num_parameters = finished(trainable), NUM_PARAMETERS[trainable]
    config = folder.config()
    weights = folder.checkpoint.weights(config.rounds)
    assert sum(array.size for array in weights.values()) == num_parameters
    assert folder.manifest()["base_sha256"] == base_sha256(build_base(config))
    for record in folder.rounds():
        assert record["failures"] == {}
        for client in record["clients"].values():
            # All are float32 and travel end to end, behind one head of 128 bytes.
            assert client["bytes_received"] == 4 * num_parameters + 128
    assert folder.metrics()["global_test"]["n"] == 70
    assert folder.metrics()["client_test"]["n"] == 6


def test_equal_bits_one_by_one_on_features_computed_anew(
    finished: Callable[[str], RunFolder], superlink: SuperLink, synthetic_ham: Path, tmp_path: Path
) -> None:
    config = tiny_config(synthetic_ham, tmp_path, trainable="adapter", **CHANGES["adapter"])
    alone = run_tiny(superlink, config, tmp_path / "run", concurrency=1)
    assert alone == finished("adapter").metrics()


def test_a_run_does_not_go_on_with_another_base(
    finished: Callable[[str], RunFolder], superlink: SuperLink
) -> None:
    begun = finished("head")
    begun.update_manifest(base_sha256="0" * 64, status="failed")
    with pytest.raises(SimulationFailed, match="the base of its network is not the one"):
        run_tiny(superlink, begun.config(), begun.path)
