"""One report that several tests look at."""

from pathlib import Path

import pytest

from experiments.report import write_report
from experiments.reporting.findings import Findings, read_findings
from tests.experiments.reporting.small_campaign import write_small_campaign


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign's folder with its report; nobody writes to it."""
    folder = tmp_path_factory.mktemp("campaign") / "generated"
    write_small_campaign(folder)
    write_report(read_findings(folder), folder / "report")
    return folder


@pytest.fixture(scope="session")
def findings(campaign: Path) -> Findings:
    """What the same campaign has found."""
    return read_findings(campaign)
