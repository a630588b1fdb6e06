"""Trackers read the environment, and set it."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _own_environment() -> Iterator[None]:
    """What MLflow is set is undone, and nobody's own server is met."""
    before = dict(os.environ)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)
