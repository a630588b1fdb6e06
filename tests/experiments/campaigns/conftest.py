"""Finished trials, from a generated campaign."""

import shutil
from pathlib import Path

import pytest

from tests.generated_campaign import write_campaign
from tests.runs import read_json


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 17 trials of one backbone, of three rounds or epochs; nobody writes to it."""
    folder = tmp_path_factory.mktemp("campaign")
    write_campaign(folder, rounds=3, backbones=["swin_t"])
    return folder


@pytest.fixture
def three(tmp_path: Path, campaign: Path) -> dict[str, Path]:
    """The plan's first trial of each command, to be damaged; by command."""
    plan = read_json(campaign / "plan.json")["trials"]
    chosen = {t["command"]: campaign / "trials" / t["id"] for t in reversed(plan)}
    return {
        command: shutil.copytree(path, tmp_path / "trials" / path.name)
        for command, path in chosen.items()
    }
