"""Campaigns that several tests look at."""

from pathlib import Path

import pytest

from experiments.report import write_report
from experiments.reporting.findings import Findings, read_findings
from experiments.reporting.hospitals import Hospitals
from tests.experiments.reporting.hospital_campaign import write_hospital_campaign
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


@pytest.fixture(scope="session")
def hospital_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign's folder with trials over three hospitals; nobody changes the trials."""
    path = tmp_path_factory.mktemp("hospitals") / "campaign"
    write_hospital_campaign(path)
    return path


@pytest.fixture(scope="session")
def hospital_findings(hospital_folder: Path) -> Findings:
    """What that campaign has found."""
    return read_findings(hospital_folder)


@pytest.fixture(scope="session")
def hospitals(hospital_findings: Findings) -> Hospitals:
    """Its one group of trials."""
    [found] = hospital_findings.hospitals
    return found
