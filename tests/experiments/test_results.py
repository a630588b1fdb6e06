"""The tables at the end of a run."""

from typing import Any

from experiments.results import traffic_table


def record(failures: int, transport: float) -> dict[str, Any]:
    """A round of three clients: 30 MB to them, 2 MB from each that did not fail."""
    answered = 3 - failures
    return {
        "bytes_sent": 30_000_000,
        "bytes_received": 2_000_000 * answered,
        "clients": {f"client-{index}": {} for index in range(answered)},
        "failures": {f"client-{2 - index}": "its process died" for index in range(failures)},
        "seconds": {"round": 10.0, "transport": transport},
    }


def test_what_travelled() -> None:
    """30 MB to three clients are 10 to each, also to one that fails; 6 and 4 from five are 2."""
    table = traffic_table([record(0, 1.5), record(1, 2.0)])
    assert list(table.columns[1].cells) == ["10.00", "60.00"]
    assert list(table.columns[2].cells) == ["2.00", "10.00"]
    assert table.caption == "Transport: 3.5 s of the rounds' 20.0 s"
