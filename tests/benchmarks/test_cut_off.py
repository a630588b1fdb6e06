"""A hospital that loses its network connection takes part again as soon as it is back.

Rounds that close without an unneeded hospital are tested by ``make soak``.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.cut_off import joined, run_with_both
from benchmarks.disturbed_run import simulated
from benchmarks.hospitals_here import Hospitals
from benchmarks.network_link import NetworkLink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def link() -> Iterator[NetworkLink]:
    with ExitStack() as stack:
        try:
            link = stack.enter_context(NetworkLink())
        except OSError as error:
            pytest.skip(f"wants Debian's iproute2 and the right to network namespaces: {error}")
        yield link


@pytest.fixture(scope="module")
def hospitals(
    link: NetworkLink, synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hospitals]:
    with joined(tmp_path_factory.mktemp("hospitals"), synthetic_ham, link) as serving:
        yield serving


def test_a_round_that_needs_it_waits_for_it(
    hospitals: Hospitals, link: NetworkLink, synthetic_ham: Path, tmp_path: Path
) -> None:
    """Its reply was on the way; it is asked again, and the weights are as if nothing had been."""
    figures = run_with_both(hospitals, link, tmp_path / "run", "out")
    expected = simulated(hospitals, tmp_path / "simulated", synthetic_ham, rounds=3)
    assert figures["weights_sha256"] == expected["weights_sha256"]
    assert figures["rounds"] == 3
