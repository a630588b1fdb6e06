"""Where pretrained weights are looked for without torch, and where they are loaded from."""

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from torchvision.models import get_model_weights

from models.errors import WeightsError
from models.open_clip_provider import FILE_NAME
from models.registry import BACKBONES, PROVIDERS, locate_pretrained
from models.torchvision_provider import FILES


def test_the_files_are_those_that_torchvision_publishes() -> None:
    published = {
        name: PurePosixPath(get_model_weights(spec.builder)[spec.weights].url).name
        for name, spec in BACKBONES.items()
        if spec.provider == "torchvision"
    }
    assert published == FILES


@pytest.mark.parametrize("name", ["resnet18", "clip-rn50"])
def test_a_folder_without_weights_has_none_as_loading_says(name: str, tmp_path: Path) -> None:
    assert PROVIDERS[BACKBONES[name].provider].find_weights(BACKBONES[name], tmp_path) is None
    with pytest.raises(WeightsError):
        locate_pretrained(name, tmp_path)


@pytest.mark.parametrize(
    "member", ["resnet50_clip.openai.safetensors", f"resnet50_clip.openai/{FILE_NAME}"]
)
def test_both_names_of_a_clip_file_are_found(member: str, tmp_path: Path) -> None:
    path = tmp_path / member
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert PROVIDERS["open_clip"].find_weights(BACKBONES["clip-rn50"], tmp_path) == path
    assert locate_pretrained("clip-rn50", tmp_path) == path


def test_the_libraries_own_caches_are_looked_into(tmp_path: Path) -> None:
    """In a process of its own: the hub reads its settings once."""
    repository = BACKBONES["clip-rn50"].weights.replace("/", "--")
    files = [
        tmp_path / "torch" / "hub" / "checkpoints" / FILES["resnet18"],
        tmp_path / "hf" / "hub" / f"models--{repository}" / "snapshots" / "0" / FILE_NAME,
    ]
    for path in files:
        path.parent.mkdir(parents=True)
        path.touch()
    code = (
        "import sys; from models.registry import BACKBONES, PROVIDERS\n"
        "def find_weights(spec, where): return PROVIDERS[spec.provider].find_weights(spec, where)\n"
        "print(find_weights(BACKBONES['resnet18'], None));"
        "print(find_weights(BACKBONES['clip-rn50'], None));"
        "print(find_weights(BACKBONES['swin_t'], None));"
        "assert not {'torch', 'torchvision', 'httpx'} & sys.modules.keys()"
    )
    environment = {"TORCH_HOME": str(tmp_path / "torch"), "HF_HOME": str(tmp_path / "hf")}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [*map(str, files), "None"]
