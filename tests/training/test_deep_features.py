"""Feature stores: computed once, reused, and never confused with others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.backbones import Backbone, build_backbone
from tests.support import BACKBONE, make_config, random_split
from training import array_store
from training import network as network_module
from training.head_figures import Features, open_features

SPLIT = random_split(6)
IDS = [f"image-{number}" for number in range(6)]


@pytest.fixture
def network() -> Backbone:
    return build_backbone(BACKBONE, 3, pretrained=False, image_size=32, seed=0)


def open_them(path: Path, network: Backbone, identity: str = "weights data") -> Features:
    return open_features(path, make_config(), lambda: network, SPLIT, IDS, identity=identity)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every pass over the images."""
    counted: list[int] = []
    extract = network_module.extract_features

    def count(*arguments, **options):  # type: ignore[no-untyped-def]
        counted.append(1)
        return extract(*arguments, **options)

    monkeypatch.setattr(network_module, "extract_features", count)
    return counted


def test_features_are_the_trunks_in_evaluation_mode(tmp_path: Path, network: Backbone) -> None:
    """The network's head on them gives the logits that the whole network gives."""
    found = open_them(tmp_path / "f", network)
    assert (found.values.shape, found.values.dtype) == ((6, 256), np.float32)
    assert found.labels.tolist() == SPLIT.labels.tolist()
    assert found.image_ids == tuple(IDS)
    assert not network.training
    with torch.inference_mode():
        assert network.head(torch.from_numpy(found.values)).isfinite().all()


def test_a_second_call_computes_nothing(
    tmp_path: Path, network: Backbone, passes: list[int]
) -> None:
    first = open_them(tmp_path / "f", network)
    again = open_them(tmp_path / "f", network)
    assert len(passes) == 1
    assert again.values.tobytes() == first.values.tobytes()
    with safe_open(tmp_path / "f", framework="np") as file:
        assert "image-5" in file.metadata()["image_ids"]


@pytest.mark.parametrize("damage", ["other weights", "cut off", "empty", "another file"])
def test_what_does_not_fit_is_made_anew(
    tmp_path: Path, network: Backbone, passes: list[int], damage: str
) -> None:
    path = tmp_path / "f"
    first = open_them(path, network)
    if damage == "other weights":
        open_them(path, network, identity="others")
        assert len(passes) == 2
    else:
        content = path.read_bytes()
        path.write_bytes({"cut off": content[:-8], "empty": b"", "another file": b"{}"}[damage])
    again = open_them(path, network)
    assert len(passes) == (3 if damage == "other weights" else 2)
    assert again.values.tobytes() == first.values.tobytes()
    open_them(path, network)
    assert len(passes) == (3 if damage == "other weights" else 2)


def test_nothing_half_written_stays(
    tmp_path: Path, network: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(array_store, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        open_them(tmp_path / "f", network)
    assert list(tmp_path.iterdir()) == []
