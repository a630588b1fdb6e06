"""Faults in data or weights are found before any trial starts, all of them at once."""

from pathlib import Path
from typing import Any

import pytest

from data_partition.synthetic_isic2019 import write_isic2019
from experiments.campaigns import preflight as module
from experiments.campaigns.preflight import Preflight
from experiments.campaigns.trial import Trial
from tests.data_partition.layouts import write_images
from tests.runs import tiny_config
from training.errors import ConfigError


def trial(data: Path, cache: Path, command: str = "simulate", **changes: Any) -> Trial:
    return Trial(command, tiny_config(data, cache, **changes), {})


def faults(preflight: Preflight, *trials: Trial) -> list[str]:
    try:
        preflight.facts(trials)
        preflight.check(trials, device=True)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_data_are_looked_at_once_for_all_trials(
    synthetic_ham: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(module, "data_facts", lambda config, progress: seen.append(config))
    Preflight().facts([trial(synthetic_ham, tmp_path, rounds=r) for r in range(1, 500)])
    assert len(seen) == 1


def test_trials_of_two_split_files_are_two(tmp_path: Path) -> None:
    """The files' paths are no part of a trial's id, but what is in them is."""
    write_isic2019(tmp_path / "data", 60)
    one, other = tmp_path / "data" / "train_test_split.csv", tmp_path / "other.csv"
    text = one.read_text(encoding="utf-8")
    other.write_text(text.replace(",train,", ",test,", 1), encoding="utf-8")
    changes = {"dataset": "isic2019", "partition": "source", "clients": 6}
    trials = [
        trial(tmp_path / "data", tmp_path / "cache", **changes, **split)
        for split in (
            {},
            {"split": "flamby", "split_file": str(one)},
            {"split": "flamby", "split_file": str(other)},
        )
    ]
    facts = Preflight().facts(trials)
    assert len({known.fingerprint for known in facts}) == 3
    assert len({each.id(known) for each, known in zip(trials, facts, strict=True)}) == 3


def test_facts_are_those_of_the_images(synthetic_ham: Path, tmp_path: Path) -> None:
    one, other = Preflight().facts(
        [trial(synthetic_ham, tmp_path), trial(synthetic_ham, tmp_path, image_size=64)]
    )
    assert one == other, "the size of the stored images says nothing of which they are"
    assert one.dataset == "ham10000"
    assert one.test_fingerprint not in (None, one.fingerprint)


def test_all_data_faults_come_together(synthetic_ham: Path, tmp_path: Path) -> None:
    lines = faults(
        Preflight(),
        trial(synthetic_ham, tmp_path / "cache"),
        trial(tmp_path / "a", tmp_path / "cache"),
        trial(tmp_path / "b", tmp_path / "cache"),
        trial(tmp_path / "b", tmp_path / "cache", rounds=7),
    )
    assert len(lines) == 2
    assert str(tmp_path / "a") in lines[0]
    assert str(tmp_path / "b") in lines[1]


def test_a_test_set_in_training_is_found_before_any_trial(tmp_path: Path) -> None:
    for folder in ("data/train/nv", "data/test/nv"):
        write_images(tmp_path / folder, [f"{number}" for number in range(20)])
    found = [
        faults(Preflight(), trial(tmp_path / "data", tmp_path, clients=2, allow_overlap=allowed))
        for allowed in (False, True)
    ]
    assert len(found[0]) == 1
    assert "20 of 20 test images are also in training (0: same id" in found[0][0]
    assert found[1] == []


def test_missing_weights_are_named_once_for_each_backbone(
    synthetic_ham: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    wanting = [
        trial(synthetic_ham, tmp_path, backbone=name, pretrained=True, weights_dir=weights, seed=s)
        for name in ("resnet18", "convnext_t")
        for s in (0, 1)
    ]
    lines = faults(Preflight(), *wanting)
    assert len(lines) == 2
    assert "resnet18" in lines[0]
    assert "convnext_t" in lines[1] or "convnext_tiny" in lines[1]


def test_more_clients_than_images_and_heads_without_a_test_set(
    synthetic_ham: Path, tmp_path: Path
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    for entry in synthetic_ham.iterdir():
        if "test" not in entry.name.lower():
            (without / entry.name).symlink_to(entry)
    lines = faults(
        Preflight(),
        trial(synthetic_ham, tmp_path / "cache", clients=500),
        trial(without, tmp_path / "cache", "heads"),
    )
    assert any("500" in line for line in lines)
    assert any(
        "heads are evaluated on a test set, and there is none; set test-dir" in line
        for line in lines
    )


def test_a_device_that_is_not_here_is_found_unless_trials_run_elsewhere(
    synthetic_ham: Path, tmp_path: Path
) -> None:
    elsewhere = trial(synthetic_ham, tmp_path, device="mps")
    assert any("device = 'mps'" in line for line in faults(Preflight(), elsewhere))
    preflight = Preflight()
    preflight.facts([elsewhere])
    preflight.check([elsewhere], device=False)
