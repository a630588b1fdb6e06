"""A campaign's folder: who may use it, and how far each trial in it is."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.campaigns.campaign_folder import CampaignFolder, Planned
from experiments.campaigns.trial import Trial
from operation.files import write_json
from tests.support import make_config
from training.checkpoint import Progress
from training.config import parse
from training.errors import ConfigError, RunFolderError
from training.experiment_data import DataFacts
from training.run_folder import RunFolder
from training.run_state import RunState
from training.study import resolve

CONFIG = make_config(seed=3)
FACTS = DataFacts("ham10000", "f" * 64, "e" * 64, ("mel", "nv"))
TRIAL = Trial("simulate", CONFIG, {})
PLANNED = Planned("simulate-resnet18-0123456789ab", "simulate", CONFIG.to_flat())


def begun(campaign: CampaignFolder, **manifest: object) -> RunFolder:
    folder = campaign.run_folder(PLANNED.id)
    folder.create(CONFIG)
    folder.update_manifest(**manifest)
    return folder


def word(campaign: CampaignFolder, *, at_work: bool = False) -> str:
    return campaign.states([PLANNED], at_work=at_work)[PLANNED.id].state


def test_the_states_of_a_trial(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    assert word(campaign) == RunState.WAITING
    campaign.write_attempt(PLANNED.id, {"outcome": "running"})
    assert word(campaign, at_work=True) == RunState.RUNNING
    assert word(campaign) == RunState.WAITING, "whoever ran it is gone"
    campaign.record(PLANNED.id, RunState.FAILED, "NaN loss in round 3")
    assert word(campaign) == RunState.FAILED
    assert campaign.states([PLANNED], at_work=False)[PLANNED.id].cause == "NaN loss in round 3"
    begun(campaign, status="completed")
    assert word(campaign) == RunState.COMPLETED, "the run folder is the truth"


def test_heads_are_done_when_their_figures_are_there(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    heads = Planned(PLANNED.id, "heads", PLANNED.config)
    folder = begun(campaign, status="completed")
    folder.write_metrics({"best_round": 1})
    assert campaign.states([heads], at_work=False)[heads.id].state == RunState.WAITING
    folder.write_metrics({"best_round": 1, "heads": {}})
    assert campaign.states([heads], at_work=False)[heads.id].state == RunState.COMPLETED


def test_a_damaged_trial_is_no_finished_one(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    folder = begun(campaign, status="completed")
    (folder.path / "manifest.json").write_text("{", encoding="utf-8")
    assert word(campaign) == RunState.WAITING


def test_a_second_run_on_the_same_folder_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    with campaign.lock():
        assert campaign.is_locked()
        said = "another fedskin campaign run uses this"
        with pytest.raises(RunFolderError, match=said), campaign.lock():
            pass
    assert not campaign.is_locked()


def test_a_campaign_that_was_refused_leaves_no_folder(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path / "campaign")
    with pytest.raises(ConfigError), campaign.lock():
        raise ConfigError("a trial is wrong")
    assert list(tmp_path.iterdir()) == []
    campaign.path.mkdir()  # somebody's own, which stays
    with campaign.lock():
        pass
    assert campaign.path.is_dir()


def test_two_campaigns_do_not_share_a_folder(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    campaign.take("first")
    campaign.write_plan("first", [PLANNED])
    campaign.take("first")
    with pytest.raises(RunFolderError, match="belongs to campaign 'first', not 'second'"):
        campaign.take("second")
    assert campaign.plan() == ("first", [PLANNED])


def test_a_folder_of_other_files_is_refused_but_trials_brought_along_are_welcome(
    tmp_path: Path,
) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="holds other files"):
        CampaignFolder(tmp_path).take("first")
    (tmp_path / "trials").mkdir()
    CampaignFolder(tmp_path).take("first")


def test_a_plan_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no campaign; start one with"):
        CampaignFolder(tmp_path).plan()
    (tmp_path / "config.toml").touch()  # a run's folder: campaign run would refuse it
    with pytest.raises(RunFolderError, match="holds no campaign; name the folder that"):
        CampaignFolder(tmp_path).plan()
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is not a plan of this version"):
        CampaignFolder(tmp_path).plan()
    CampaignFolder(tmp_path).take("anything")  # the next run writes it again


def room(campaign: CampaignFolder, trial: Trial = TRIAL) -> Path | None:
    return campaign.make_room(PLANNED.id, trial, FACTS)


def test_room_is_made_without_losing_anything(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    assert room(campaign) is None, "nothing is there"
    folder = campaign.run_folder(PLANNED.id)
    folder.path.mkdir(parents=True)
    (folder.path / ".config.toml.17.tmp").touch()
    assert room(campaign) is None
    assert not folder.path.exists(), "what a kill left before anything was begun is removed"
    begun(campaign, status="running")
    assert room(campaign) is None
    assert folder.exists(), "half-done trials are gone on with"
    for number in (1, 2):
        begun(campaign, status="completed")
        (folder.path / "manifest.json").write_text("[]", encoding="utf-8")
        moved = room(campaign)
        assert moved == tmp_path / "set-aside" / f"{PLANNED.id}-{number}"
        assert (moved / "config.toml").is_file()


def test_a_folder_that_lost_its_config_is_kept(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    folder = begun(campaign, status="completed")
    (folder.path / "config.toml").unlink()
    moved = room(campaign)
    assert moved is not None
    assert (moved / "manifest.json").is_file()


@pytest.mark.parametrize(
    "manifest",
    [
        {"command": "clip"},
        {"data": {"fingerprint": "0" * 64}},
        {"data": {"fingerprint": FACTS.fingerprint, "test_fingerprint": "0" * 64}},
    ],
)
def test_another_command_or_other_images_are_another_run(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    campaign = CampaignFolder(tmp_path)
    begun(campaign, status="completed", **manifest)
    assert room(campaign) is not None


def test_a_trial_of_another_config_or_a_damaged_checkpoint_makes_room(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    begun(campaign, status="completed")
    assert room(campaign, Trial("simulate", make_config(seed=4), {})) is not None
    folder = begun(campaign, status="running")
    folder.checkpoint.save(Progress(round=1))
    assert room(campaign) is None
    (folder.path / "checkpoint" / "state.json").write_text("[]", encoding="utf-8")
    assert room(campaign) is not None


def test_a_trial_finds_data_and_cache_that_were_moved(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    folder = begun(campaign, status="running")
    moved = CONFIG.replace(data_dir="/moved", cache_dir="/cache")
    assert room(campaign, Trial("simulate", moved, {})) is None
    assert folder.config() == moved


def test_what_the_data_set_decides_is_no_other_run(tmp_path: Path) -> None:
    """A BraTS2019 run is by patient, whatever split-by says; the folder holds it resolved."""
    campaign = CampaignFolder(tmp_path)
    written = parse({"image-size": 32, "backbone": "resnet18", "pretrained": False})
    facts = DataFacts("brats2019", "f" * 64, "e" * 64, ("HGG", "LGG"))
    resolved = resolve(written, dataset="brats2019", device="cpu", threads_per_client=1)
    assert resolved.split_by != written.split_by
    campaign.run_folder(PLANNED.id).create(resolved)
    assert campaign.make_room(PLANNED.id, Trial("simulate", written, {}), facts) is None
    assert campaign.run_folder(PLANNED.id).config() == resolved


@pytest.mark.parametrize("origin", [{}, "elsewhere", {"run": 3}])
def test_heads_of_a_damaged_origin_make_room(origin: object, tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    begun(campaign, status="completed", command="heads", data=None, **{"from": origin})
    assert room(campaign, Trial("heads", CONFIG, {})) is not None


def test_heads_on_a_network_that_is_gone_make_room(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    heads = Trial("heads", CONFIG, {})
    borrowed = {"from": {"run": "../heads-resnet18-000000000000"}}
    begun(campaign, status="running", command="heads", **borrowed)
    source = campaign.run_folder("heads-resnet18-000000000000")
    source.create(CONFIG)
    source.update_manifest(status="completed")
    source.checkpoint.save(Progress(round=1))
    assert room(campaign, heads) is None
    shutil.rmtree(source.path)
    assert room(campaign, heads) is not None


def test_a_damaged_record_of_an_attempt_counts_as_none(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    write_json(tmp_path / "attempts" / f"{PLANNED.id}.json", {})
    (tmp_path / "attempts" / f"{PLANNED.id}.json").write_text("{", encoding="utf-8")
    assert campaign.attempt(PLANNED.id) == {}
