"""The plan on a screen: every trial, the totals, and what is missing."""

import io
from pathlib import Path
from typing import Any

import pytest

from experiments.campaigns.campaign_file import Campaign, read_campaign
from experiments.campaigns.forecast import Forecast
from experiments.campaigns.plan_table import show_plan
from experiments.console import Console
from experiments.planning.estimate import Estimate
from experiments.planning.missing import Missing
from experiments.planning.words import duration

HOUR = Estimate(
    starting=100.0,
    features=0.0,
    a_round=34.0,
    rounds=100,
    judging=100.0,
    bytes=2 * 10**9,
    passing=10**9,
)
SHIPPED = Path(__file__).parents[3] / "experiments" / "campaigns"


def shown(campaign: Campaign, folder: Path, **changes: Any) -> str:
    """What is shown of a campaign whose every trial takes an hour, 2 GB and 1 GB in passing."""
    trials = tuple((trial, HOUR) for trial in campaign.trials)
    facts = {"seconds": 7200.0, "cached_bytes": 2 * 10**6, "machine": "a machine", "assumed": ()}
    missing = Missing(changes.pop("to_bring", ()), changes.pop("to_download", ()))
    output = io.StringIO()
    console = Console(file=output, width=100)
    forecast = Forecast(trials, **{**facts, **changes})
    show_plan(console, campaign.name, forecast, missing, folder)
    return output.getvalue()


@pytest.mark.parametrize(
    ("name", "trials", "evaluations"),
    [("task1-clip", 72, 72), ("task2-federated", 120, 120), ("task3-heads", 12, 36)],
)
def test_every_trial_of_the_study_is_listed_on_one_screen(
    name: str, trials: int, evaluations: int, tmp_path: Path
) -> None:
    text = shown(read_campaign(SHIPPED / f"{name}.toml"), tmp_path)
    assert text.count("60 min") == trials
    assert f"{name}: {trials} trials, {evaluations} evaluations" in text
    assert len(text.splitlines()) <= 40


def test_the_columns_name_their_key(tmp_path: Path) -> None:
    """The values of the longest key that fits go across, and its name stands above them."""
    lines = shown(read_campaign(SHIPPED / "task2-federated.toml"), tmp_path).splitlines()
    (number,) = [n for n, line in enumerate(lines) if "adagrad" in line]
    assert "optimizer:" in lines[number - 1]
    heads = [cell.strip() for cell in lines[number].strip("┃").split("┃")]
    assert heads[-5:] == ["sgd", "adam", "adamw", "adagrad", "adadelta"]
    assert all(key in lines[number - 1] + lines[number] for key in ("strategy", "backbone"))


def test_totals_say_time_and_room(tmp_path: Path) -> None:
    """12 trials of an hour and 2 GB."""
    text = shown(read_campaign(SHIPPED / "task3-heads.toml"), tmp_path / "not" / "there")
    assert "about 2.0 h side by side, 12 h one after the other" in text
    assert "24.0 GB of results, up to 1.0 GB more for each trial that runs, " in text
    assert "2 MB of images and features in the cache" in text
    assert "GB are free at" in text


def test_too_little_room_is_said(tmp_path: Path) -> None:
    campaign = read_campaign(SHIPPED / "task3-heads.toml")
    assert "TOO LITTLE, 1000000025.0 GB are needed" in shown(
        campaign, tmp_path, cached_bytes=10**18
    )


def test_what_is_missing_and_what_was_assumed_is_said(tmp_path: Path) -> None:
    text = shown(
        read_campaign(SHIPPED / "smoke.toml"),
        tmp_path,
        assumed=("ham10000",),
        to_bring=("the images [of] ham10000",),
        to_download=("weights",),
    )
    assert "The images of ham10000 were not counted; taken are the study's numbers" in text
    assert "Missing: the images [of] ham10000" in text
    assert "To be downloaded: weights" in text


def test_excluded_trials_leave_their_places_empty(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(
        'name = "some"\n[[part]]\ncommand = "simulate"\n'
        '[part.grid]\nstrategy = ["fedavg", "fedprox"]\nbackbone = ["swin_t", "swin_b"]\n'
        '[[part.exclude]]\nbackbone = "swin_t"\nstrategy = "fedprox"\n'
    )
    rows = [line for line in shown(read_campaign(file), tmp_path).splitlines() if "swin_" in line]
    assert [row.count("60 min") for row in rows] == [1, 2]


def test_a_single_trial_is_a_table_of_one(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text('name = "one"\n[[part]]\ncommand = "heads"\n')
    (row,) = [line for line in shown(read_campaign(file), tmp_path).splitlines() if "│" in line]
    assert "60 min" in row


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (100, "1.7 min"),
        (3600, "60 min"),
        (6000, "1.7 h"),
        (3600 * 99, "99 h"),
        (3600 * 100, "4.2 d"),
    ],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_parts_with_the_same_grid_share_a_table_and_lose_no_trial(tmp_path: Path) -> None:
    part = '[[part]]\ncommand = "simulate"\n[part.base]\nrounds = {}\n[part.grid]\n'
    grid = 'backbone = ["swin_t", "swin_b"]\n'
    file = tmp_path / "two.toml"
    file.write_text('name = "two"\n' + "".join(part.format(rounds) + grid for rounds in (1, 2)))
    rows = [line for line in shown(read_campaign(file), tmp_path).splitlines() if "swin_" in line]
    assert [row.count("60 min") for row in rows] == [2, 2]
