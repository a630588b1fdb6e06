"""Runs that begin with the best weights of another one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import BACKBONE, make_config
from training.config import ExperimentConfig, Scalar
from training.errors import RunFolderError
from training.network import sent_part
from training.run_folder import RunFolder
from training.task import Task
from training.warm_start import check_source, note_on_start, start_from
from training.weights import Weights, weights_sha256

CLASSES = ("a", "b", "c")


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., tuple[RunFolder, Weights]]:
    """Makes a finished run of two rounds, of which the first is the best."""

    def make(**changes: Any) -> tuple[RunFolder, Weights]:
        config = make_config(seed=3, **changes)
        folder = RunFolder(tmp_path / "source")
        folder.create(config)
        network = Task(config, len(CLASSES)).build()
        weights = {name: array + 1 for name, array in sent_part(network).items()}
        progress = folder.checkpoint.progress()
        for number in (1, 2):
            progress = type(progress)(round=number, best_round=1)
            folder.checkpoint.save(progress, {n: a * number for n, a in weights.items()})
        folder.write_metrics({"best_round": 1})
        folder.update_manifest(
            status="completed",
            command="simulate",
            data={"classes": CLASSES, "synthetic": True},
            base_sha256="0" * 64,
        )
        return folder, weights

    return make


def config_from(folder: RunFolder, **changes: Scalar) -> ExperimentConfig:
    return make_config(init_from=str(folder.path), **changes)


def test_without_the_key_nothing_happens() -> None:
    config = make_config()
    check_source(config)
    network = Task(config, 3).build()
    before = weights_sha256(sent_part(network))
    assert start_from(network, config, CLASSES) is None
    assert weights_sha256(sent_part(network)) == before
    assert note_on_start({}) == []


def test_the_first_weights_are_the_best_ones_of_the_other_run(
    source: Callable[..., tuple[RunFolder, Weights]],
) -> None:
    folder, weights = source()
    config = config_from(folder)
    network = Task(config, 3).build()
    start = start_from(network, config, CLASSES)
    assert start is not None
    assert weights_sha256(sent_part(network)) == start["weights_sha256"] == weights_sha256(weights)
    assert (start["round"], start["new_head"]) == (1, False)
    said = f"the first weights are the best ones of {folder.path} (its round 1)"
    assert note_on_start({"init_from": start}) == [said]


@pytest.mark.parametrize("classes", [("a", "b", "c", "d"), ("a", "b", "x"), ("b", "a", "c")])
def test_with_other_classes_the_head_starts_anew(
    source: Callable[..., tuple[RunFolder, Weights]], classes: tuple[str, ...]
) -> None:
    """Also with as many of other names, or in another order."""
    folder, weights = source()
    config = config_from(folder)
    fresh = sent_part(Task(config, len(classes)).build())
    network = Task(config, len(classes)).build()
    start = start_from(network, config, classes)
    assert start is not None
    for name, array in sent_part(network).items():
        expected = fresh[name] if name.startswith("head.") else weights[name]
        np.testing.assert_array_equal(array, expected)
    (said,) = note_on_start({"init_from": start})
    assert said.endswith("; the head starts anew, since that run has other classes (3)")


def test_what_cannot_be_the_start_is_refused_in_a_line(
    source: Callable[..., tuple[RunFolder, Weights]], tmp_path: Path
) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        check_source(make_config(init_from=str(tmp_path / "nothing")))
    folder, _ = source()
    folder_config = folder.config()
    other = config_from(folder, trainable="head", backbone="convnext_t")
    with pytest.raises(RunFolderError) as caught:
        check_source(other)
    assert str(caught.value) == (
        f"{folder.path}: cannot be the start of this run (init-from): it has backbone = "
        f"{BACKBONE!r}, not 'convnext_t'; trainable = 'all', not 'head'"
    )
    lonely = folder.config().replace(strategy="local")
    (folder.path / "config.toml").write_text(lonely.to_toml())
    with pytest.raises(RunFolderError, match="strategy = local all weights stay at the clients"):
        check_source(config_from(folder))
    (folder.path / "config.toml").write_text(folder_config.to_toml())
    folder.update_manifest(**{"from": {"run": "../x"}})
    with pytest.raises(RunFolderError, match="holds heads on another run's network; name that run"):
        check_source(config_from(folder))
    folder.update_manifest(status="running")
    with pytest.raises(RunFolderError, match="the run is not completed; finish it with --resume"):
        check_source(config_from(folder))


def test_weights_of_another_shape_are_refused(
    source: Callable[..., tuple[RunFolder, Weights]],
) -> None:
    folder, weights = source()
    name = "trunk.conv_stem.weight"
    wrong = {**weights, name: weights[name][:, :1]}
    folder.checkpoint.save(type(folder.checkpoint.progress())(round=1, best_round=1), wrong)
    config = config_from(folder)
    with pytest.raises(
        RunFolderError,
        match=rf"do not fit {BACKBONE} at image-size = \d+: {name} is \(24, 1, 3, 3\), not \(24, 3",
    ):
        start_from(Task(config, 3).build(), config, CLASSES)


def test_a_trained_part_needs_the_same_base(
    source: Callable[..., tuple[RunFolder, Weights]],
) -> None:
    folder, _ = source(trainable="head")
    config = config_from(folder, trainable="head")
    with pytest.raises(RunFolderError, match="the base of its network is not this run's"):
        start_from(Task(config, 3).build(), config, CLASSES)


def test_a_run_that_was_begun_keeps_its_start(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config())
    start = {"run": "/a", "round": 1, "weights_sha256": "1", "new_head": False, "classes": 3}
    folder.keep_start(start)
    folder.keep_start(start)
    with pytest.raises(RunFolderError, match=r"^/a: its weights are not those that .* began"):
        folder.keep_start({**start, "weights_sha256": "2"})
