"""``fedskin export --timm``: the library loads the folder, and its network answers as fedskin's."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torchvision.models import get_model

from experiments.exporting.exported_model import ExportedModel, ExportError
from experiments.exporting.library_folder import write_library_folder
from experiments.trained_model import TrainedModel
from models.backbones import build_backbone
from models.registry import find_backbone
from tests.support import make_config

LITE = "timm:tf_efficientnet_lite0"


def exported(backbone: str, *, size: int = 32, **changes: Any) -> ExportedModel:
    config = make_config(backbone=backbone, image_size=size, **changes)
    network = build_backbone(
        backbone, 3, pretrained=False, image_size=size, seed=0, trainable=config.trainable
    )
    model = TrainedModel(config, ("a", "b", "c"), None, lambda: ({}, None))
    return ExportedModel(model, find_backbone(backbone), network.eval())


def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_timm_loads_the_folder_and_the_file(tmp_path: Path) -> None:
    given, folder = exported(LITE), tmp_path / "lite"
    assert write_library_folder(given, folder) <= 1e-6
    expected = given.network(images())
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    torch.testing.assert_close(loaded(images()), expected)
    file = str(folder / "model.safetensors")
    filled = timm.create_model("tf_efficientnet_lite0", num_classes=3, checkpoint_path=file).eval()
    torch.testing.assert_close(filled(images()), expected)
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == ["a", "b", "c"]
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert "not for diagnosis" in config["fedskin"]["notice"]


@torch.inference_mode()
def test_torchvision_takes_the_tensors(tmp_path: Path) -> None:
    given = exported("resnet18")
    write_library_folder(given, tmp_path / "resnet")
    network = get_model("resnet18", num_classes=3).eval()
    network.load_state_dict(load_file(tmp_path / "resnet" / "model.safetensors"), strict=True)
    torch.testing.assert_close(network(images()), given.network(images()))
    config = json.loads((tmp_path / "resnet" / "config.json").read_text())
    assert config["architecture"] == "resnet18"


@pytest.mark.parametrize(
    "backbone, changes, said",
    [
        ("resnet18", {"objective": "clip"}, "objective = clip: torchvision has no network"),
        ("resnet18", {"trainable": "adapter"}, "trainable = adapter: torchvision has no network"),
        ("timm:test_resnet", {"objective": "clip"}, "objective = clip: timm has no network"),
    ],
)
def test_what_the_library_has_not_is_refused(
    backbone: str, changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said):
        write_library_folder(exported(backbone, **changes), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="is there already"):
        write_library_folder(exported("resnet18"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
