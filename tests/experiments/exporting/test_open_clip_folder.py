"""``fedskin export --open-clip``: open_clip loads the folder, and answers as the run's network."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import _build_vision_tower
from safetensors.torch import load_file
from torch import nn

from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments.exporting import open_clip_folder
from experiments.exporting.exported_model import ExportedModel, ExportError
from experiments.exporting.open_clip_folder import write_open_clip_folder
from experiments.trained_model import TrainedModel
from models.backbones import Backbone, build_backbone
from models.clip import ImageTextClassifier
from models.registry import find_backbone
from models.text_encoders import find_text_encoder
from models.text_tower import encode_pretrained, encode_random
from tests.models.clip_models import ENCODER, SMALL, TOWER, bring, draw
from tests.support import make_config
from training.clip_text import prompts_of

CLASSES = tuple(HAM10000_CLASSES)
SIZE = 224
VISION = {"image_size": SIZE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 32}
TIMM = {"image_size": SIZE, "timm_model_name": "test_efficientnet", "timm_pool": "avg"}
TOWERS = {
    "vit": VISION,
    "resnet": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 8},
    "timm, linear without bias": {**TIMM, "timm_proj": "linear"},
    "timm, a perceptron": {**TIMM, "timm_proj": "mlp"},
    "timm, its own classifier": {**TIMM, "timm_proj": None},
    "timm, no projection": {**TIMM, "timm_proj": "none"},
    "CoCa": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
}


def architecture(monkeypatch: pytest.MonkeyPatch, vision: dict[str, Any]) -> dict[str, Any]:
    """Have open_clip know no other architecture than one with this image tower."""
    config = {**SMALL, "embed_dim": 16, "vision_cfg": vision}
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: json.loads(json.dumps(config)))
    return config


def tower_of(config: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        tower = _build_vision_tower(config["embed_dim"], config["vision_cfg"], True)
        for parameter in tower.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(torch.randn(parameter.shape), alpha=0.1)
    if hasattr(tower, "output_tokens"):
        tower.output_tokens = False
    return tower


def linear(inputs: int, outputs: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(4)
    layer = nn.Linear(inputs, outputs)
    layer.weight.data.normal_(generator=generator)
    layer.bias.data.normal_(generator=generator)
    return layer


def against_text(
    trunk: nn.Module, width: int, backbone: str = TOWER, weights: Path | None = None, **changes: Any
) -> ExportedModel:
    """A network of objective ``clip``, with the features of a small text tower."""
    config = make_config(
        backbone=backbone, image_size=SIZE, objective="clip", text_encoder=ENCODER, **changes
    )
    texts, encoder = prompts_of(config, CLASSES), find_text_encoder(ENCODER)
    if weights is None:
        text, scale = encode_random(encoder, texts, config.seed)
    else:
        text, scale = encode_pretrained(encoder, texts, weights)
    network = ImageTextClassifier(Backbone(trunk, linear(width, 16)), text.clone(), scale)
    return exported(network, config)


def exported(network: Backbone, config: Any) -> ExportedModel:
    model = TrainedModel(config, CLASSES, None, lambda: ({}, None))
    return ExportedModel(model, find_backbone(config.backbone), network.eval())


def images() -> torch.Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def check_answers(given: ExportedModel, folder: Path) -> None:
    """Compare images with the classes' texts as users of open_clip do."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    image_features = model.encode_image(images(), normalize=True)
    assert isinstance(given.network, ImageTextClassifier)
    torch.testing.assert_close(image_features, given.network.embeddings(images()))
    told = json.loads((folder / "open_clip_config.json").read_text())
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(told["prompts"])
    logits, _ = model.get_logits(images(), tokens)
    torch.testing.assert_close(logits, given.network(images()), rtol=1e-4, atol=1e-3)
    assert transform.transforms[0].size == (SIZE, SIZE)
    assert told["preprocess_cfg"]["mean"] == list(given.spec.mean)
    assert told["label_names"] == list(CLASSES)


@pytest.mark.parametrize("kind", TOWERS)
def test_the_projection_to_the_text_is_the_towers_own(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = architecture(monkeypatch, TOWERS[kind])
    trunk = tower_of(config)
    width = trunk.eval()(images()).shape[1]
    given = against_text(trunk, width)
    assert write_open_clip_folder(given, tmp_path / "clip") <= 1e-5
    check_answers(given, tmp_path / "clip")


def test_published_weights_of_the_text_tower_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = architecture(monkeypatch, VISION)
    file = bring(draw(config), tmp_path / "weights")
    given = against_text(
        tower_of(config), 16, weights=file, pretrained=True, weights_dir=str(tmp_path / "weights")
    )
    write_open_clip_folder(given, tmp_path / "clip")
    check_answers(given, tmp_path / "clip")
    kept, copied = load_file(file), load_file(tmp_path / "clip" / "open_clip_model.safetensors")
    assert torch.equal(copied["token_embedding.weight"], kept["token_embedding.weight"])


def test_a_network_of_timm_is_an_image_tower_of_open_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture(monkeypatch, VISION)
    name = "timm:test_efficientnet"
    built = build_backbone(name, 16, pretrained=False, image_size=SIZE, seed=0)
    given = against_text(built.trunk, find_backbone(name).width, backbone=name)
    write_open_clip_folder(given, tmp_path / "clip")
    check_answers(given, tmp_path / "clip")


@torch.inference_mode()
def test_a_classifier_is_a_tower_and_a_linear_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk, head = tower_of(architecture(monkeypatch, VISION)), linear(16, 7)
    config = make_config(backbone=TOWER, image_size=SIZE)
    given, folder = exported(Backbone(trunk, head), config), tmp_path / "clip"
    write_open_clip_folder(given, folder)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    layer = load_file(folder / "classifier.safetensors")
    found = model.encode_image(images()) @ layer["weight"].T + layer["bias"]
    torch.testing.assert_close(found, given.network(images()))
    assert "prompts" not in json.loads((folder / "open_clip_config.json").read_text())


def test_a_tower_that_answers_otherwise_is_refused_however_sure_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of so large a scale that every probability is 0 or 1."""
    given = against_text(tower_of(architecture(monkeypatch, VISION)), 16)
    assert isinstance(given.network, ImageTextClassifier)
    given.network.logit_scale = 1e7
    project = open_clip_folder._projected

    def otherwise(tower: Any, head: nn.Linear) -> Any:
        changes, state = project(tower, head)
        return changes, {**state, "proj": state["proj"] * torch.linspace(1, 1.01, 16)}

    monkeypatch.setattr(open_clip_folder, "_projected", otherwise)
    with pytest.raises(ExportError, match="open_clip's model answers otherwise"):
        write_open_clip_folder(given, tmp_path / "clip")
    assert list(tmp_path.iterdir()) == []


def test_a_text_wider_than_the_tower_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = {**VISION, "width": 8, "head_width": 4}
    given = against_text(tower_of(architecture(monkeypatch, narrow)), 16)
    with pytest.raises(ExportError, match="the image tower is 8 wide and the text 16"):
        write_open_clip_folder(given, tmp_path / "clip")
    assert list(tmp_path.iterdir()) == []


def test_the_text_tower_must_be_here_and_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = architecture(monkeypatch, VISION)
    weights = tmp_path / "weights"
    weights.mkdir()
    given = against_text(tower_of(config), 16, pretrained=True, weights_dir=str(weights))
    said = r"text tower ViT-B/32 are not in .*weights \(open_clip_model.safetensors of timm/vit"
    with pytest.raises(ExportError, match=said):
        write_open_clip_folder(given, tmp_path / "clip")
    bring(draw(config), weights)  # the run's are of a tower with other weights
    with pytest.raises(ExportError, match="are not those that the run's text features are from"):
        write_open_clip_folder(given, tmp_path / "clip")
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize(
    "backbone, changes, said",
    [
        ("resnet18", {}, "resnet18: open_clip has classifiers of its own image towers only"),
        ("resnet18", {"objective": "clip"}, "resnet18: open_clip builds image towers of its own"),
        ("resnet18", {"trainable": "adapter"}, "trainable = adapter: open_clip has no network"),
        ("open_clip:ViT-B-16-SigLIP", {}, "has a text tower of another kind than CLIP's"),
    ],
)
def test_what_open_clip_has_not_is_refused(
    backbone: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    config = make_config(backbone=backbone, image_size=SIZE, **changes)
    with pytest.raises(ExportError, match=said):
        write_open_clip_folder(exported(Backbone(nn.Flatten(), linear(4, 3)), config), tmp_path)
    assert list(tmp_path.iterdir()) == []
