"""A campaign killed with -9 and started again ends as without the kill: two moments."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.campaign_kills import comparable, disturb, prepare, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kills")
    prepare(path)
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> tuple[float, pd.DataFrame]:
    return undisturbed(folder)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_killed_campaign_ends_with_the_same_ledger(
    seed: int, folder: Path, expected: tuple[float, pd.DataFrame]
) -> None:
    seconds, ledger = expected
    kill = disturb(folder, folder / f"killed-{seed}", seed=seed, seconds=seconds)
    pd.testing.assert_frame_equal(comparable(folder / f"killed-{seed}"), ledger, obj=str(kill))
