"""A campaign's forecast, with step times and a machine that are given."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import joblib
import pytest

from data_partition.errors import DataError
from experiments.campaigns import forecast as module
from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.campaign_folder import CampaignFolder, Planned
from experiments.campaigns.forecast import forecast, seconds_taken
from experiments.campaigns.trial import Trial
from experiments.planning.estimate import SMALL_RUN
from experiments.planning.estimate import STARTING_IN_CAMPAIGN as STARTING
from experiments.planning.step_times import StepTime, setting
from operation.machine_memory import MachineMemory
from training.config import ExperimentConfig, parse


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores, no GPU, memory enough; an image costs a second and all else nothing."""

    def measure(configs: Iterable[ExperimentConfig], *_: Any) -> dict:
        return {
            setting(config): StepTime(1.0, 0.0, 0.0, 0.0, 0, 1, SMALL_RUN) for config in configs
        }

    monkeypatch.setattr(module, "measure_steps", measure)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    monkeypatch.setattr(module, "machine_memory", lambda: MachineMemory(10**12, 10**12))
    monkeypatch.setattr(module, "resolve_device", lambda device: "cpu")


def trial(command: str, **keys: Any) -> Trial:
    values = {"dataset": "ham10000", "backbone": "resnet18", "image-size": 32, "epochs": 1}
    values |= {key.replace("_", "-"): value for key, value in keys.items()}
    values |= {"objective": "clip"} if command == "clip" else {}
    return Trial(command, parse(values), {"seed": 0})


def campaign(*trials: Trial, cpus: int = 1) -> Campaign:
    return Campaign("test", trials, 120.0, cpus, 0.0)


# 80 % of the study's 10,015 images, an epoch of a second an image.
ONE = STARTING["clip"] + 8012


@pytest.mark.parametrize(("trials", "rounds"), [(1, 1), (4, 1), (8, 2)])
def test_trials_of_one_core_run_four_at_a_time(trials: int, rounds: int) -> None:
    found = forecast(campaign(*[trial("clip")] * trials))
    assert found.seconds == pytest.approx(module.BEGINNING + rounds * ONE)
    assert sum(each.seconds for _, each in found.trials) == pytest.approx(trials * ONE)


def test_trials_of_two_cores_run_two_at_a_time() -> None:
    found = forecast(campaign(*[trial("clip")] * 4, cpus=2))
    assert found.seconds == pytest.approx(module.BEGINNING + 2 * ONE)


def test_a_campaign_takes_as_long_as_its_longest_trial() -> None:
    found = forecast(campaign(trial("clip", epochs=10), trial("clip")))
    assert found.seconds == pytest.approx(module.BEGINNING + STARTING["clip"] + 80120)


def test_memory_keeps_trials_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a trial takes all memory that there is, two of them run one after the other."""
    monkeypatch.setattr(module, "machine_memory", lambda: MachineMemory(10**12, 10**9))
    found = forecast(campaign(trial("clip"), trial("clip")))
    assert found.seconds == pytest.approx(module.BEGINNING + 2 * ONE)


def test_heads_of_one_network_train_it_once() -> None:
    """Trials that differ only in the heads take the first one's network."""
    same = [trial("heads", knn_neighbors=k) for k in (1, 5, 15)]
    seconds = [each.seconds for _, each in forecast(campaign(*same)).trials]
    assert seconds == pytest.approx(
        [STARTING["heads"] + 8012, STARTING["heads"], STARTING["heads"]]
    )


def test_images_are_stored_once_for_each_data_set_and_size() -> None:
    """32 pixels are stored at 37, 64 at 73: N · side² · 3 bytes."""
    found = forecast(campaign(trial("clip"), trial("heads"), trial("clip", image_size=64)))
    assert found.cached_bytes == 3 * (10_015 + 1_512) * (37**2 + 73**2)


def test_features_are_computed_once_for_all_trials_that_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of a backbone has them computed, a second for each of the study's 11,527 images.

    They lie in the cache: of every image 512 numbers of resnet18, 768 of swin_t.
    """

    def measure(configs: Iterable[ExperimentConfig], *_: Any) -> dict:
        return {
            setting(config): StepTime(0.0, 0.0, 0.0, 1.0, 0, 1, SMALL_RUN) for config in configs
        }

    monkeypatch.setattr(module, "measure_steps", measure)
    ways = ({"strategy": "fedprox"}, {"wire_format": "int8"}, {"trainable": "adapter"})
    keys = {"trainable": "head", "pretrained": False, "rounds": 1}
    trials = [trial("simulate", **{**keys, **way}) for way in ({}, *ways, {"backbone": "swin_t"})]
    found = forecast(campaign(*trials))
    rest = found.trials[1][1].seconds
    seconds = [each.seconds - rest for _, each in found.trials]
    assert seconds == pytest.approx([11_527, 0, 0, 0, 11_527], abs=0.01)
    # Four at a time: three wait for the first one's features. Then the last computes its own.
    assert found.seconds == pytest.approx(
        module.BEGINNING + seconds[0] + seconds[-1] + 2 * rest, abs=1
    )
    images = 3 * (10_015 + 1_512) * 37**2
    assert found.cached_bytes == pytest.approx(images + 11_527 * 4 * (512 + 768), abs=20_000)


@pytest.mark.parametrize(
    "changes",
    [{"augmented_views": 1}, {"partition": "dirichlet"}, {"seed": 1}, {"image_size": 64}],
    ids=lambda changes: next(iter(changes)),
)
def test_features_of_other_views_or_shards_are_computed_anew(changes: dict[str, Any]) -> None:
    keys = {"trainable": "head", "pretrained": False, "rounds": 1}
    found = forecast(campaign(trial("simulate", **keys), trial("simulate", **keys, **changes)))
    assert found.cached_bytes > 4 * 512 * 2 * 10_000


def test_forecast_says_whose_images_it_did_not_count(synthetic_ham: Path) -> None:
    counted = trial("clip", data_dir=str(synthetic_ham))
    assumed = trial("clip", dataset="brats2019")
    assert forecast(campaign(counted, assumed)).assumed == ("brats2019",)
    # 30 images, 24 of them to train on.
    assert forecast(campaign(counted)).seconds == pytest.approx(
        module.BEGINNING + STARTING["clip"] + 24
    )


def test_a_folder_that_is_not_there_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> dict:
        raise AssertionError("measured")

    monkeypatch.setattr(module, "measure_steps", fail)
    with pytest.raises(DataError, match=str(tmp_path / "none")):
        forecast(campaign(trial("clip", data_dir=str(tmp_path / "none"))))


def test_a_folder_tells_its_own_data_set(synthetic_brats: Path) -> None:
    """7 of 10 of 37 patients and of 11, rounded down, are to train on: 25 + 7, of 8 slices each."""
    found = forecast(campaign(trial("clip", dataset="auto", data_dir=str(synthetic_brats))))
    assert found.seconds == pytest.approx(module.BEGINNING + STARTING["clip"] + 256)


def test_disk_is_what_all_leave_and_what_the_largest_takes_besides() -> None:
    small, large = trial("clip"), trial("clip", backbone="convnext_l")
    found = forecast(campaign(small, large))
    estimates = [each for _, each in found.trials]
    assert found.bytes == sum(each.bytes for each in estimates)
    assert found.passing == estimates[1].passing > estimates[0].passing


def test_finished_trials_correct_those_of_their_kind() -> None:
    """One took three times its estimate, one five times: others of the kind are taken to need four
    times theirs. A trial of another size says nothing of them."""
    small = [trial("clip", seed=seed) for seed in range(4)]
    large = trial("clip", image_size=64)
    found = forecast(campaign(*small, large), took={0: 3 * ONE, 2: 5 * ONE})
    seconds = [each.seconds for _, each in found.trials]
    assert seconds == pytest.approx([4 * ONE, 4 * ONE, ONE])
    assert found.corrected == {"clip resnet18, all, 32 pixels": pytest.approx(4)}


def test_seconds_of_finished_trials_are_read_from_the_campaigns_folder(tmp_path: Path) -> None:
    """By command and config: the folder's campaign may have had other trials, and fewer keys."""
    folder = CampaignFolder(tmp_path)
    trials = [trial("clip", seed=seed, run_dir="") for seed in range(3)]
    planned = [Planned(f"t{i}", t.command, t.config.to_flat()) for i, t in enumerate(trials)]
    del planned[2].config["accumulate-batches"]
    folder.write_plan("test", planned)
    for name, state in (("t0", "completed"), ("t2", "completed"), ("t1", "failed")):
        folder.write_attempt(name, {"outcome": state, "cause": "", "seconds": 7.5})
        run = folder.run_folder(name)
        run.create(trials[int(name[1])].config)
        run.update_manifest(status=state)
    wanted = campaign(trial("clip", seed=9), *trials)
    assert seconds_taken(wanted, folder) == {1: 7.5, 3: 7.5}
