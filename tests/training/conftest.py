"""Configs for the synthetic data sets, whose image stores are built by the first test."""

from pathlib import Path

import pytest

from tests.support import make_config
from training.config import ExperimentConfig


@pytest.fixture
def config(synthetic_ham: Path) -> ExperimentConfig:
    """Three clients with ten images each."""
    cache = synthetic_ham.parent / "cache"
    return make_config(data_dir=str(synthetic_ham), cache_dir=str(cache))


@pytest.fixture
def brats(synthetic_brats: Path) -> ExperimentConfig:
    """37 patients of high grade and 11 of low, with two slices each."""
    cache = synthetic_brats.parent / "cache"
    small = make_config(slices_per_patient=2, data_dir=str(synthetic_brats), cache_dir=str(cache))
    return small.replace(dataset="brats2019")
