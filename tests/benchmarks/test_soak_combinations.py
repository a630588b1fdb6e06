"""The combinations that the soak test runs; their results are not tested here."""

import pytest

from benchmarks.soak_combinations import combinations
from strategies.methods import METHODS
from tests.support import make_config
from training.errors import ConfigError


def test_all_are_run_and_valid() -> None:
    found = list(combinations())
    over_sites = [name for name in METHODS.own if not METHODS[name].pooled]
    pairs = 4 * len(over_sites) - 1  # FedPer's clients keep the head
    assert len({tuple(settings.values()) for settings in found}) == 2 * 3 * pairs
    for settings in found:
        changes = {key.replace("-", "_"): value for key, value in settings.items()}
        make_config(**changes, backbone="convnext_t")
        if settings["trainable"] == "lora":
            with pytest.raises(ConfigError, match="no linear layers"):
                make_config(**changes, backbone="resnet18")
