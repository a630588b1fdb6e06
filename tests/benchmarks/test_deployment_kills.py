"""Three hospitals end with the weights of the simulation, whichever process is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.deployment_kills import run_disturbed
from benchmarks.disturbed_run import simulated
from benchmarks.hospitals_here import VICTIMS, Hospitals

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def hospitals(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    with Hospitals(tmp_path_factory.mktemp("hospitals"), synthetic_ham) as serving:
        yield serving


def test_the_weights_are_those_of_the_simulation(
    hospitals: Hospitals, synthetic_ham: Path, tmp_path: Path
) -> None:
    """The SuperLink, a hospital's SuperNode and the coordinator's supervisor are killed in turn."""
    victims = (VICTIMS[0], VICTIMS[4], VICTIMS[3])
    rounds = len(victims) + 2
    figures = run_disturbed(hospitals, tmp_path / "run", victims, seed=0)
    expected = simulated(hospitals, tmp_path / "simulated", synthetic_ham, rounds=rounds)
    assert figures["weights_sha256"] == expected["weights_sha256"]
    assert figures["rounds"] == rounds
