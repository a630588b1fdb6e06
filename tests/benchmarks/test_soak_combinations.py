"""The combinations that the soak test runs; their results are not tested here."""

from itertools import combinations as pairs

import pytest

from benchmarks.soak_combinations import KEYS, combinations, sample
from strategies.methods import METHODS
from tests.support import make_config
from training.errors import ConfigError


def test_the_sample_has_every_pair_of_values_that_any_combination_has() -> None:
    """It needs at least one run for each method and trained part."""
    every, found = list(combinations()), sample()
    for first, second in pairs(KEYS, 2):
        wanted = {(settings[first], settings[second]) for settings in every}
        assert {(settings[first], settings[second]) for settings in found} == wanted
    over_sites = {settings["strategy"] for settings in every}
    assert 4 * len(over_sites) - 1 <= len(found) < 5 * len(over_sites)


def test_all_are_valid() -> None:
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
