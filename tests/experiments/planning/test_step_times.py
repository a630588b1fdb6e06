"""Steps are measured as they run, once, and the times are stored."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from experiments.planning import step_measurement, step_times
from experiments.planning.step_measurement import measure
from experiments.planning.step_times import (
    FILE_NAME,
    Setting,
    StepTime,
    measure_steps,
    setting,
)
from tests.support import make_config
from training.config import ExperimentConfig
from training.errors import TrainingError

KNOWN = StepTime(1.0, 2.0, 3.0, 4.0, 5, 6, 7.0)


STARTING = 8.0  # in place of a small simulation


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step_measurement, "_starting", lambda: STARTING)
    monkeypatch.setattr(step_measurement, "_SECONDS", 0.0)
    monkeypatch.setattr(step_measurement, "_REPEATS", 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def watch_measuring(monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """Let every measurement be `KNOWN`, and return a list of the settings that are measured."""
    measured: list[Setting] = []

    def answer(configs: Sequence[ExperimentConfig]) -> Iterator[StepTime]:
        for config in configs:
            measured.append(setting(config))
            yield KNOWN

    monkeypatch.setattr(step_times, "_in_another_process", answer)
    return measured


@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_all_times_are_measured(objective: str) -> None:
    """A training step has two passes and the optimizer's step; judging has one pass."""
    found = measure(make_config(objective=objective, optimizer="adagrad"))
    assert min(found.training, found.judging, found.step) > 0
    assert found.features == found.judging
    assert found.measured == 8
    assert found.starting == STARTING


@pytest.mark.parametrize("objective", ["classifier", "clip"])
def test_a_step_on_features_is_measured_on_features(objective: str) -> None:
    """It takes a thousandth of what the trunk does; a tenth leaves room for a busy machine."""
    changes = {"optimizer": "adagrad", "trainable": "head", "image_size": 96}
    config = make_config(backbone="resnet18", objective=objective, **changes)
    found = measure(config)
    assert 0 < found.training < found.features / 10
    assert 0 < found.judging < found.features / 10


def test_a_batch_that_takes_too_long_is_measured_in_a_few_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of eight. The memory is that of the real batch all the same: four times as much."""
    large = make_config()
    monkeypatch.setattr(step_measurement, "_IMAGES_OF_224", 0)
    monkeypatch.setattr(step_measurement, "_LONGEST_STEP", 0.0)
    few = measure(large)
    assert few.measured == 2
    assert few.activations % 4 == 0


def test_time_that_other_programs_take_is_not_counted() -> None:
    """A second on the wall, of which this process had a quarter; a GPU works outside of it."""
    assert step_measurement._between((10.0, 3.0), (11.0, 3.25), "cpu") == 0.25
    assert step_measurement._between((10.0, 3.0), (11.0, 5.0), "cpu") == 1.0
    assert step_measurement._between((10.0, 3.0), (11.0, 3.25), "cuda") == 1.0


@pytest.mark.slow
def test_steps_are_measured_in_a_process_of_their_own(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    configs = [make_config(), make_config(trainable="head")]
    images, features = measure_steps(configs, tmp_path).values()
    assert images.training > features.training > 0
    assert images.starting == features.starting != STARTING
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    monstrous = make_config().replace(backbone="timm:no_such_model")
    with pytest.raises(TrainingError, match="no_such_model"):
        measure_steps([monstrous], tmp_path)


def test_each_setting_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed, the epochs and the strategy say nothing about a step."""
    measured = watch_measuring(monkeypatch)
    first = make_config()
    alike = [first, make_config(seed=3, epochs=7, strategy="fedprox")]
    others = [make_config(image_size=64), make_config(batch_size=4), make_config(trainable="head")]
    seen: list[tuple[int, int]] = []
    found = measure_steps(
        [*alike, *others], tmp_path, lambda done, total: seen.append((done, total))
    )
    assert len(found) == len(measured) == 4
    assert found[setting(first)] == KNOWN
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_was_measured_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = watch_measuring(monkeypatch)
    for _ in range(2):
        assert measure_steps([make_config()], tmp_path) == {setting(make_config()): KNOWN}
    assert len(measured) == 1


def test_two_plans_at_the_same_time_keep_what_both_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_config(image_size=64)

    def answer(configs: Sequence[ExperimentConfig]) -> Iterator[StepTime]:
        if configs[0] != other:
            measure_steps([other], tmp_path)  # which begins and ends while this one measures
        yield KNOWN

    monkeypatch.setattr(step_times, "_in_another_process", answer)
    measure_steps([make_config()], tmp_path)
    measured = watch_measuring(monkeypatch)
    measure_steps([make_config(), other], tmp_path)
    assert not measured


def test_a_measuring_process_may_print_more_warnings_than_a_pipe_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talkative = tmp_path / "python"
    times = json.dumps(asdict(KNOWN))
    talkative.write_text(f"#!/bin/sh\nhead -c 1000000 /dev/zero >&2\necho '{times}'\n")
    talkative.chmod(0o700)
    monkeypatch.setattr(step_times.sys, "executable", str(talkative))
    assert list(step_times._in_another_process([make_config()])) == [KNOWN]


def test_another_processor_measures_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = watch_measuring(monkeypatch)
    measure_steps([make_config()], tmp_path)
    monkeypatch.setattr(step_times, "processor_name", lambda: "another")
    measure_steps([make_config()], tmp_path)
    assert len(measured) == 2


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": {"b": 1}}'])
def test_a_damaged_memory_is_made_anew(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = watch_measuring(monkeypatch)
    (tmp_path / FILE_NAME).write_text(text)
    for _ in range(2):
        measure_steps([make_config()], tmp_path)
    assert len(measured) == 1
