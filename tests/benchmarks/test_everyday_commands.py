"""The benchmark of what a person waits for, at its smallest."""

import pytest

from benchmarks.everyday_commands import FORWARD, PREDICT, measure


@pytest.mark.slow
def test_every_command_is_measured() -> None:
    results = {row.name: row for row in measure(1, runs=2, images=14)}
    assert list(results) == ["help", "run-list", "run-page", "predict-image", "predict-folder"]
    assert all(row.target for row in results.values())
    for row in results.values():
        assert all(seconds > 0 for of_side in row.samples.values() for seconds in of_side)
    assert set(results["predict-folder"].samples) == {PREDICT, FORWARD}
