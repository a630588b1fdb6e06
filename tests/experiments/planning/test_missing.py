"""Missing parts of runs are found without fetching them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_partition.datasets import dataset_choice, find_dataset
from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments.planning.missing import Missing, find_missing
from models.text_features import TextFeatures, prompts, store
from training.config import ExperimentConfig, parse


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights on this machine, and no network to fetch them from."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))


def wanting(cache: Path, **keys: Any) -> ExperimentConfig:
    values = {"dataset": "ham10000", "backbone": "swin_t", "data-dir": "/data"}
    values |= {"cache-dir": str(cache), **{k.replace("_", "-"): v for k, v in keys.items()}}
    return parse(values)


def test_nothing_is_missing_for_random_weights(tmp_path: Path) -> None:
    ready = wanting(tmp_path, pretrained=False, objective="clip")
    assert find_missing([ready]) == Missing((), ())


@pytest.mark.parametrize(
    ("dataset", "named"),
    [("ham10000", "ham10000"), ("brats2019", "brats2019"), ("auto", dataset_choice())],
)
def test_missing_images_are_said_once(dataset: str, named: str, tmp_path: Path) -> None:
    keys = {"dataset": dataset, "data_dir": "", "pretrained": False}
    bare = [wanting(tmp_path, **keys, seed=seed) for seed in (0, 1)]
    (line,) = find_missing(bare).to_bring
    assert line == f"the images of {named}: give their folder with --data NAME=DIR"


def test_weights_are_downloaded_unless_a_folder_is_named(tmp_path: Path) -> None:
    """Without weights-dir a run fetches them; with it they must be there."""
    found = find_missing([wanting(tmp_path), wanting(tmp_path, seed=1)])
    assert found == Missing((), ("the weights of swin_t, 110 MB",))
    offline = find_missing([wanting(tmp_path, weights_dir=str(tmp_path))])
    assert offline.to_download == ()
    (line,) = offline.to_bring
    assert "swin_t-" in line
    assert f"is not in {tmp_path}" in line


def test_text_encoders_are_asked_for_under_clip(tmp_path: Path) -> None:
    found = find_missing([wanting(tmp_path, objective="clip", text_encoder="RN50x16")])
    assert "open_clip_model.safetensors of timm/resnet50x16_clip.openai" in found.to_download
    offline = find_missing([wanting(tmp_path, objective="clip", weights_dir=str(tmp_path))])
    assert any("vit_large_patch14_clip_224.openai" in line for line in offline.to_bring)


def test_text_features_in_the_cache_stand_for_the_text_encoder(tmp_path: Path) -> None:
    texts = prompts(find_dataset("ham10000").names_in_words(HAM10000_CLASSES))
    rows = np.eye(len(texts), 768, dtype=np.float32)
    store(TextFeatures("ViT-L/14", texts, rows, 100.0, "openai"), tmp_path)
    found = find_missing([wanting(tmp_path, objective="clip")])
    assert found.to_download == ("the weights of swin_t, 110 MB",)


def test_image_towers_of_clip_are_looked_for_in_the_hubs_cache(tmp_path: Path) -> None:
    found = find_missing([wanting(tmp_path, backbone="clip-rn50")])
    assert found.to_download == ("the weights of clip-rn50, 153 MB",)
