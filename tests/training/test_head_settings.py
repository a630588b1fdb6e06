"""The heads' settings in a config, and which of them identify a fit."""

import pytest

from tests.support import make_config
from training.head_settings import HEAD_KEYS, head_settings, head_values, heads_of


@pytest.mark.parametrize(
    "named, fitted",
    [
        ("knn,svm,rf", ("knn", "svm", "rf")),
        ("rf,svm,knn", ("knn", "svm", "rf")),
        ("svm,knn", ("knn", "svm")),
        ("rf", ("rf",)),
    ],
)
def test_heads_are_fitted_in_one_order_however_they_are_named(
    named: str, fitted: tuple[str, ...]
) -> None:
    assert heads_of(make_config(heads=named)) == fitted


def test_the_settings_are_the_configs() -> None:
    config = make_config(
        scaler="none",
        knn_neighbors=7,
        svm_c=2.0,
        svm_gamma=0.5,
        forest_trees=9,
        tune_heads=True,
        seed=4,
    )
    settings = head_settings(config)
    assert (settings.scaler, settings.neighbors) == ("none", 7)
    assert (settings.c, settings.gamma) == (2.0, 0.5)
    assert (settings.trees, settings.tune, settings.seed) == (9, True, 4)


@pytest.mark.parametrize(
    "key, value",
    [
        ("heads", "rf"),
        ("scaler", "none"),
        ("knn_neighbors", 1),
        ("svm_c", 10.0),
        ("svm_gamma", "auto"),
        ("forest_trees", 10),
        ("tune_heads", True),
    ],
)
def test_a_fit_is_known_by_every_setting(key: str, value: object) -> None:
    assert head_values(make_config(**{key: value})) != head_values(make_config())
    assert key.replace("_", "-") in HEAD_KEYS


def test_what_is_not_the_heads_does_not_tell_fits_apart() -> None:
    assert list(head_values(make_config(backbone="swin_t", image_size=224))) == list(HEAD_KEYS)
    other = make_config(device="auto", cache_dir="/elsewhere", learning_rate=1.0)
    assert head_values(other) == head_values(make_config())
