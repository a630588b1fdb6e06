"""CLIP's image towers as pretrained trunks, out of files of whole CLIP models."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from models.backbones import build_backbone
from models.errors import WeightsError
from models.registry import find_backbone, locate_pretrained
from models.text_encoders import TEXT_ENCODERS
from tests.models import clip_models
from tests.models.clip_models import TOWER


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    return clip_models.make_small(monkeypatch)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def pretrained(folder: Path, name: str = TOWER) -> Any:
    width = find_backbone(name).width
    return build_backbone(
        name, width, pretrained=True, image_size=224, seed=0, weights_dir=folder, identity_head=True
    ).eval()


def test_features_are_those_of_the_whole_model(small: Any, tmp_path: Path) -> None:
    path = clip_models.bring(small, tmp_path)
    assert locate_pretrained(TOWER, tmp_path) == path
    model = pretrained(tmp_path)
    path.write_bytes(bytes(path.stat().st_size))  # would show through a mapped tensor
    with torch.no_grad():
        assert torch.equal(model.features(images()), small.encode_image(images()))
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-vit-b-32", "clip-rn50"])
def test_the_real_towers_answer_as_clip_does_with_their_own_text(name: str, tmp_path: Path) -> None:
    """With an identity for a head, the model's answers are CLIP's own image features."""
    (encoder,) = [spec for spec in TEXT_ENCODERS.values() if spec.image_tower == name]
    model = clip_models.draw(open_clip.get_model_config(encoder.builder))
    repository = encoder.repository.rpartition("/")[2]
    path = clip_models.bring(model, tmp_path, name=repository)
    ours = pretrained(tmp_path, name)
    path.unlink()  # hundreds of megabytes, and pytest keeps the folders of three runs
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), model.encode_image(images()), rtol=0, atol=1e-5)


def test_floats_of_half_the_bits_become_float32(small: Any, tmp_path: Path) -> None:
    clip_models.bring(small, tmp_path, torch.float16)
    state = pretrained(tmp_path).trunk.state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    expected = small.visual.state_dict()
    assert all(torch.equal(t, expected[key].half().float()) for key, t in state.items())


def test_nothing_of_the_text_tower_is_needed(small: Any, tmp_path: Path) -> None:
    path = clip_models.bring(small, tmp_path)
    text = [key for key in small.state_dict() if not key.startswith("visual.")]
    clip_models.rewrite(path, **dict.fromkeys(text))
    with torch.no_grad():
        assert torch.equal(pretrained(tmp_path)(images()), small.encode_image(images()))


@pytest.mark.parametrize(
    "changes",
    [
        {"visual.proj": None},
        {"visual.more": torch.zeros(1)},
        {"visual.proj": torch.zeros(64, 768)},
    ],
    ids=["fewer", "more", "wider"],
)
def test_another_image_tower_is_refused(
    changes: dict[str, Any], small: Any, tmp_path: Path
) -> None:
    path = clip_models.bring(small, tmp_path)
    clip_models.rewrite(path, **changes)
    with pytest.raises(WeightsError) as caught:
        pretrained(tmp_path)
    assert str(caught.value) == f"{path} holds the weights of another network"


def test_a_damaged_file_is_refused(small: Any, tmp_path: Path) -> None:
    path = clip_models.bring(small, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        pretrained(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"^weights-dir: {clip_models.NAME}/.* is not in "):
        locate_pretrained(TOWER, tmp_path)
