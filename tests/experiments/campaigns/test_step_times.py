"""Steps are measured as they run, once, and the times are stored."""

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.campaigns import step_times
from experiments.campaigns.step_times import FILE_NAME, StepTime, measure_steps, setting
from tests.support import make_config


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_times, "_SECONDS", 0.0)


def forbid_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: Any) -> StepTime:
        raise AssertionError(f"measured {config.backbone} again")

    monkeypatch.setattr(step_times, "_measure", fail)


@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_all_three_times_are_measured(objective: str, tmp_path: Path) -> None:
    """A training step has two passes and the optimizer's step; judging has one pass."""
    config = make_config(objective=objective, optimizer="adagrad")
    (found,) = measure_steps([config], tmp_path).values()
    assert found.training > 0 < found.judging
    assert found.step > 0


@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_a_step_on_features_is_measured_on_features(objective: str, tmp_path: Path) -> None:
    """It takes a thousandth of what the trunk does; a tenth leaves room for a busy machine."""
    config = make_config(objective=objective, optimizer="adagrad", trainable="head", image_size=128)
    (found,) = measure_steps([config], tmp_path).values()
    assert 0 < found.training < found.judging / 10


def test_measuring_leaves_threads_and_random_numbers_alone(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    measure_steps([make_config(threads_per_client=threads + 1)], tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_each_setting_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed, the epochs and the strategy say nothing about a step."""
    measured = []

    def measure(config: Any) -> StepTime:
        measured.append(setting(config))
        return StepTime(1.0, 2.0, 3.0)

    monkeypatch.setattr(step_times, "_measure", measure)
    first = make_config()
    alike = [first, make_config(seed=3, epochs=7, strategy="fedprox")]
    others = [make_config(image_size=64), make_config(batch_size=4), make_config(trainable="head")]
    seen: list[tuple[int, int]] = []
    found = measure_steps(
        [*alike, *others], tmp_path, lambda done, total: seen.append((done, total))
    )
    assert len(found) == len(measured) == 4
    assert found[setting(first)] == StepTime(1.0, 2.0, 3.0)
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_what_was_measured_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure_steps([make_config()], tmp_path)
    forbid_measuring(monkeypatch)
    assert measure_steps([make_config()], tmp_path) == first


def test_another_processor_measures_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_steps([make_config()], tmp_path)
    monkeypatch.setattr(step_times, "processor_name", lambda: "another")
    forbid_measuring(monkeypatch)
    with pytest.raises(AssertionError, match="again"):
        measure_steps([make_config()], tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": {"b": 1}}'])
def test_a_damaged_memory_is_made_anew(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert measure_steps([make_config()], tmp_path)
    assert measure_steps([make_config()], tmp_path)
