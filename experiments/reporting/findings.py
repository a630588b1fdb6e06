"""The contents of a report, read once from a campaign's folder."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.finished_trial import TrialRecord
from experiments.campaigns.ledger import read_ledger
from experiments.reporting.comparisons import Comparison, compare, over_traffic
from experiments.reporting.contrasts import Contrast, contrasts
from experiments.reporting.hospital_answers import read_hospital_trials
from experiments.reporting.hospitals import Hospitals, judge_hospitals
from experiments.reporting.statistics import Ranking, rankings
from operation.text import counted
from training.errors import RunFolderError


@dataclass(frozen=True)
class Findings:
    """The results of a campaign so far."""

    name: str
    planned: list[str]  # ids of the trials of the last plan; empty without a plan
    table: pd.DataFrame
    set_aside: dict[str, str]  # by folder, why it is not in the report
    records: dict[str, TrialRecord]  # of each trial of the table, by its id
    comparisons: list[Comparison]
    contrasts: list[Contrast]
    rankings: list[Ranking]
    hospitals: list[Hospitals] = field(default_factory=list)

    @property
    def synthetic(self) -> bool:
        """Whether any trial's images are synthetic."""
        return bool(self.table["synthetic"].any())

    @property
    def chapters(self) -> list[Comparison]:
        """The comparisons with figures and tables of their own.

        Not those of one backbone whose trials are all judged by hospital, where they are rows.
        """
        judged = [found.trials for found in self.hospitals if found.trials.entries]
        there = {trial for trials in judged for trial in trials.table.index}
        return [
            comparison
            for comparison in self.comparisons
            if len(comparison.backbones) > 1 or not set(comparison.rows["trial"]) <= there
        ]

    @property
    def communication(self) -> list[Comparison]:
        """The comparisons merged over the data sent, see `over_traffic`."""
        return over_traffic(self.chapters)

    @property
    def progress(self) -> str:
        """The number of finished trials, in one line."""
        if not self.planned:
            return counted(len(self.records), "trial is done", "trials are done")
        done = len(self.records.keys() & set(self.planned))
        line = f"{done} of {counted(len(self.planned), 'trial is done', 'trials are done')}"
        others = len(self.records) - done
        return line + (f", and {others} more that the last plan does not name" if others else "")


def read_findings(folder: Path) -> Findings:
    """Read a campaign's folder, also while the campaign runs.

    Raises:
        RunFolderError: there is no campaign in it.
    """
    campaign = CampaignFolder(folder)
    if not campaign.exists() and not (folder / "trials").is_dir():
        raise RunFolderError(
            f"{folder}: holds neither a run nor a campaign; name a folder that a command was given "
            "as --out"
        )
    name, planned = campaign.plan() if campaign.exists() else (folder.name, [])
    ledger = read_ledger(folder)
    comparisons = compare(ledger.table)
    by_hospital = read_hospital_trials(ledger.table, ledger.records, folder)
    return Findings(
        name=name,
        planned=[trial.id for trial in planned],
        table=ledger.table,
        set_aside=ledger.set_aside,
        records=ledger.records,
        comparisons=comparisons,
        contrasts=contrasts(ledger.table, ledger.records),
        rankings=rankings(comparisons),
        hospitals=[judge_hospitals(trials) for trials in by_hospital],
    )
