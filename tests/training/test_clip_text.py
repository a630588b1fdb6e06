"""A run keeps the text features that it started with."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_partition.datasets import find_dataset
from data_partition.ham10000_tables import HAM10000_CLASSES
from models.errors import WeightsError
from models.text_features import TextFeatures, prompts, store
from tests.support import make_config
from training.clip_text import as_text, describe_text, prepare_text, text_of_run
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.run_folder import RunFolder

FEATURES = TextFeatures(
    encoder="ViT-B/32",
    prompts=prompts(find_dataset("ham10000").names_in_words(HAM10000_CLASSES)),
    features=np.eye(7, 512, dtype=np.float32),
    logit_scale=100.0,
    weights="openai",
)


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    """A site that was sent the text features and has no weights."""
    store(FEATURES, tmp_path / "cache")
    return make_config(
        objective="clip",
        text_encoder="ViT-B/32",
        pretrained=True,
        weights_dir=str(tmp_path),
        cache_dir=str(tmp_path / "cache"),
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_classifier_has_no_text(config: ExperimentConfig, folder: RunFolder) -> None:
    classifier = config.replace(objective="classifier", loss="cross-entropy")
    assert prepare_text(classifier, HAM10000_CLASSES) is None
    assert text_of_run(classifier, folder, HAM10000_CLASSES) is None
    assert as_text(None) is None
    assert describe_text(None) is None
    assert not folder.path.exists()


def test_a_run_keeps_the_text_that_it_began_with(
    config: ExperimentConfig, folder: RunFolder, tmp_path: Path
) -> None:
    """Whatever becomes of the cache: other weights' features, or nothing at all."""
    first = text_of_run(config, folder, HAM10000_CLASSES)
    assert first is not None
    file = folder.text_path.read_bytes()
    store(replace(FEATURES, features=-FEATURES.features), tmp_path / "cache")
    for _ in ("the cache holds others", "the cache is empty"):
        kept = text_of_run(config, folder, HAM10000_CLASSES)
        assert kept is not None
        np.testing.assert_array_equal(kept.features, first.features)
        assert folder.text_path.read_bytes() == file
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    with pytest.raises(WeightsError):
        prepare_text(config, HAM10000_CLASSES)


def test_text_of_other_classes_is_refused(config: ExperimentConfig, folder: RunFolder) -> None:
    text_of_run(config, folder, HAM10000_CLASSES)
    with pytest.raises(RunFolderError, match="text features of other classes; choose another"):
        text_of_run(config, folder, ("HGG", "LGG"))


def test_what_is_told_of_text(config: ExperimentConfig, folder: RunFolder) -> None:
    """To the network the numbers, to a reader of the manifest where they come from."""
    found = text_of_run(config, folder, HAM10000_CLASSES)
    text, told = as_text(found), describe_text(found)
    assert text is not None
    assert told is not None
    assert (text.features.shape, text.logit_scale) == ((7, 512), 100.0)
    assert (told["encoder"], told["weights"]) == ("ViT-B/32", "openai")
    assert told["prompts"][5] == "a picture of a melanocytic nevus"
