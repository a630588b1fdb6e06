"""A trial on another machine: its images must be the same, its files travel."""

import platform
from pathlib import Path

import pytest

from experiments.campaigns.attempt import AttemptTask
from experiments.campaigns.attempt_elsewhere import attempt_elsewhere, files_of, put_files
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.trial import Trial
from tests.runs import tiny_config
from training.experiment_data import DataFacts

ID = "clip-resnet18-0123456789ab"
OTHER = DataFacts("ham10000", "of other images", None, ())


@pytest.mark.parametrize(
    "there, said",
    [
        (True, "{data} holds other images than where the campaign was started"),
        (False, "no such folder: {data}; "),
    ],
)
def test_a_machine_with_other_images_or_none_is_named_and_nothing_begins(
    tmp_path: Path, synthetic_ham: Path, there: bool, said: str
) -> None:
    data = synthetic_ham if there else tmp_path / "nothing"
    campaign = CampaignFolder(tmp_path / "campaign")
    campaign.write_config(ID, Trial("clip", tiny_config(data, tmp_path / "cache"), {}))
    task = AttemptTask(campaign.path, ID, "clip", "", cpus=1, run="this", hang_seconds=60.0)
    cause = attempt_elsewhere(task, OTHER)
    assert cause.startswith(f"{platform.node()}: ")
    assert said.format(data=data) in cause
    assert not campaign.attempt(ID)


def test_a_trials_files_replace_those_that_were_there(tmp_path: Path) -> None:
    there, here = CampaignFolder(tmp_path / "there"), CampaignFolder(tmp_path / "here")
    for campaign, content in ((there, "new"), (here, "old")):
        for name in ("logs", "configs", "attempts", f"trials/{ID}/checkpoint"):
            (campaign.path / name).mkdir(parents=True)
        campaign.log_path(ID).write_text(content)
        campaign.write_attempt(ID, {"host": content})
        (campaign.run_folder(ID).path / f"{content}.txt").write_text(content)
        (campaign.run_folder(ID).path / "checkpoint" / "empty").touch()
    other = here.path / "trials" / "another"
    other.mkdir()
    put_files(here, files_of(there, ID))
    assert here.log_path(ID).read_text() == "new"
    assert here.attempt(ID) == {"host": "new"}
    run = here.run_folder(ID).path
    names = {str(path.relative_to(run)) for path in run.rglob("*")}
    assert names == {"new.txt", "checkpoint", "checkpoint/empty"}
    assert other.is_dir()
    assert not files_of(there, "another")
