"""A package's score, which `best-by` names, is beside the others in every table."""

import json
from pathlib import Path

import pytest

from experiments.campaigns.ledger import read_ledger
from experiments.figures_table import scores_tables
from experiments.reporting.campaign_tables import scores_table
from experiments.reporting.findings import read_findings
from experiments.reporting.page import page_data
from tests.generated_campaign import write_campaign
from tests.packages import Packages
from tests.runs import read_json

SCORE = """
from training.scores import Score

SCORE = Score(lambda counts: 0.25, higher_is_better=False, range=(0.0, 1.0))
"""


@pytest.fixture
def trial(packages: Packages, tmp_path: Path) -> Path:
    """The run folder of a campaign's only trial, whose rounds were compared by the score."""
    packages.add({"score_.py": SCORE}, {"scores": {"new": "score_:SCORE"}})
    [name] = write_campaign(tmp_path / "campaign", trials=1, rounds=1)
    folder = tmp_path / "campaign" / "trials" / name
    config = folder / "config.toml"
    config.write_text(config.read_text().replace('best-by = "avg"', 'best-by = "new"'))
    write_score(folder, 0.25)
    return folder


def write_score(trial: Path, figure: object) -> None:
    metrics = read_json(trial / "metrics.json")
    metrics["global_test"]["new"] = figure
    (trial / "metrics.json").write_text(json.dumps(metrics))


def test_in_ledger_table_and_page(trial: Path) -> None:
    """A score that is no percentage has three decimals."""
    findings = read_findings(trial.parents[1])
    table = findings.table.set_index(["test_set", "unit"])["new"]
    assert table["global_test", "image"] == 0.25
    [comparison] = findings.comparisons
    assert scores_table(comparison).cells["NEW"].iloc[0] == "0.250"
    data = json.loads(page_data(findings))
    assert data["scores"]["new"] == {"digits": 3, "higher": False}
    assert data["rows"][0][data["columns"].index("NEW")] == 0.25


def test_in_the_tables_of_a_run(trial: Path) -> None:
    block = read_json(trial / "metrics.json")["global_test"]
    last = scores_tables([("test set", block)], "", "new")[-1].columns[-1]
    assert (last.header, list(last.cells)) == ("NEW", ["0.250"])


def test_one_that_is_not_a_number_is_refused(trial: Path) -> None:
    write_score(trial, "high")
    assert read_ledger(trial.parents[1]).set_aside == {
        trial.name: "metrics.json: new: is not a number"
    }
