"""``--seeds`` of ``fedskin simulate``, ``clip`` and ``heads``: a campaign of one experiment."""

from pathlib import Path
from typing import Any

import pytest

import experiments.seeds
from experiments.centralized_clip import clip_command
from experiments.federated import simulate_command
from experiments.ml_heads import heads_command
from experiments.seeds import parse_seeds
from training.errors import ConfigError


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Path, dict[str, Any]]]:
    """The campaigns that would be carried out, with their folders and options."""
    seen: list[tuple[Any, Path, dict[str, Any]]] = []

    def carry_out(campaign: Any, out: Path, **options: Any) -> None:
        seen.append((campaign, out, options))

    monkeypatch.setattr(experiments.seeds, "carry_out", carry_out)
    return seen


@pytest.mark.parametrize(
    ("command", "kind", "objective"),
    [
        (simulate_command, "simulate", "classifier"),
        (clip_command, "clip", "clip"),
        (heads_command, "heads", "classifier"),
    ],
)
def test_each_seed_is_a_trial_of_the_same_config(
    command: Any, kind: str, objective: str, carried_out: list[Any], tmp_path: Path
) -> None:
    command(override=["data-dir=skin", "backbone=resnet18"], out=tmp_path, seeds="0, 3,1")
    ((campaign, out, _),) = carried_out
    assert (campaign.name, out) == (f"{kind}-resnet18", tmp_path)
    first, *others = campaign.trials
    assert [trial.settings for trial in campaign.trials] == [{"seed": n} for n in (0, 3, 1)]
    assert {trial.command for trial in campaign.trials} == {kind}
    assert first.config.objective == objective
    assert first.config.data_dir == str(Path("skin").absolute())
    assert [trial.config for trial in others] == [first.config.replace(seed=n) for n in (3, 1)]


def test_the_cluster_is_passed_on_and_the_folder_has_a_name(carried_out: list[Any]) -> None:
    simulate_command(override=["backbone=resnet18"], seeds="5", ray_address="auto")
    ((_, out, options),) = carried_out
    assert out.match("runs/*-simulate-resnet18-seeds")
    assert options["ray_address"] == "auto"


@pytest.mark.parametrize("seeds", ["", "0,,1", "1,1", "-1", "0.5", "a", "0 1"])
def test_what_is_no_list_of_seeds_is_refused(seeds: str) -> None:
    with pytest.raises(ConfigError, match="write whole numbers, each once, separated by commas"):
        parse_seeds(seeds)


def test_what_does_not_go_with_it_is_refused(carried_out: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^-c seed: --seeds sets it$"):
        simulate_command(override=["seed=4"], seeds="0,1")
    with pytest.raises(ConfigError, match=r"^--resume: goes without --seeds; run the same command"):
        clip_command(out=tmp_path, resume=True, seeds="0,1")
    with pytest.raises(ConfigError, match=r"^--from .*: goes without --seeds"):
        heads_command(from_run=tmp_path, seeds="0,1")
    with pytest.raises(ConfigError, match="heads trains objective classifier"):
        heads_command(override=["objective=clip"], seeds="0,1")
    with pytest.raises(ConfigError, match="seed = 9999999999: allowed is"):
        simulate_command(seeds="9999999999")
    assert carried_out == []
