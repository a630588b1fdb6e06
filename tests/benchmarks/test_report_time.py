"""The report's benchmark runs from end to end."""

import pytest

from benchmarks import report_time


@pytest.mark.slow
def test_a_small_campaigns_report_is_timed() -> None:
    (result,) = report_time.measure(repeats=1, trials=1, rounds=1)
    assert len(result.samples[report_time.OURS]) == 1
    # Metrics, convergence and cost of one setting; its table, and perhaps the study's.
    assert result.details["figures"] == 3
    assert result.details["tables"] >= 1
