"""What ``--only`` chooses of a campaign."""

import pytest

from experiments.campaigns.campaign_file import Campaign, read_campaign
from experiments.campaigns.choice import chosen_trials, patterns_of
from training.errors import ConfigError

METHODS = """
name = "methods"
seeds = [0, 1]

[[part]]
command = "simulate"
grid = {strategy = ["fedavg", "fedprox", "fedadam"], loss = ["focal", "balanced"]}

[[part]]
command = "clip"
"""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    path = tmp_path_factory.mktemp("campaign") / "methods.toml"
    path.write_text(METHODS, encoding="utf-8")
    return read_campaign(path)


def chosen(campaign: Campaign, *only: str) -> list[tuple[str, str, int]]:
    trials = chosen_trials(campaign, patterns_of(only, campaign))
    return [(t.config.strategy, t.config.loss, t.config.seed) for t in trials]


def test_without_a_pattern_all_are_chosen(campaign: Campaign) -> None:
    assert len(chosen(campaign)) == 3 * 2 * 2 + 2


def test_patterns_of_one_key_add_up_and_every_key_must_match(campaign: Campaign) -> None:
    found = chosen(campaign, "strategy=fedprox", "loss=focal", "strategy=*adam")
    assert found == [(s, "focal", seed) for s in ("fedprox", "fedadam") for seed in (0, 1)]


@pytest.mark.parametrize(
    "only, said",
    [
        (["swin_*"], r"--only swin_\*: write it as KEY=PATTERN"),
        (["strateg=fedavg"], "--only strateg=fedavg: no such key; did you mean strategy"),
        (
            ["seed=0", "loss=focl"],
            "--only loss=focl: no trial of methods matches; did you mean focal",
        ),
        (
            ["command=clip", "loss=focal"],
            "--only command=clip --only loss=focal: no trial of methods matches all of these",
        ),
    ],
)
def test_patterns_that_choose_nothing_are_refused(
    only: list[str], said: str, campaign: Campaign
) -> None:
    with pytest.raises(ConfigError, match=said):
        chosen(campaign, *only)


def test_another_pattern_of_a_key_makes_up_for_one_that_matches_nothing(campaign: Campaign) -> None:
    assert len(chosen(campaign, "strategy=krum", "strategy=fedprox")) == 2 * 2
