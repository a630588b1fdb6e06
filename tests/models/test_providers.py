"""What a backbone of every provider must do, with a small network of each."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import load, load_file, save, save_file
from torch import nn

from models import open_clip_provider, text_encoders
from models.backbones import Backbone, build_backbone, build_empty, check_images, over_features
from models.errors import BackboneError, WeightsError
from models.registry import PROVIDERS, check_image_size, find_backbone, known
from models.sizes import part_size
from models.text_features import open_text_features

NUM_CLASSES = 5
TINY_CLIP = {
    "embed_dim": 48,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@dataclass(frozen=True)
class Case:
    """A small backbone of a provider: its name, a size that it takes, and its pooled width."""

    name: str
    image_size: int
    width: int
    lora: bool


CASES = [
    Case("resnet18", 32, 512, lora=False),
    Case("timm:test_efficientnet", 64, 256, lora=False),
    Case("timm:test_vit", 160, 64, lora=True),
    # With tables outside the state dict, which are computed when it is built.
    Case("timm:swin_tiny_patch4_window7_224", 224, 768, lora=True),
    Case("open_clip:tiny", 32, 48, lora=True),
]
SMALL = [case for case in CASES if "swin" not in case.name]


@pytest.fixture(scope="module", autouse=True)
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Have open_clip, and our reading of its table, know the architecture ``tiny``."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "tiny.json").write_text(json.dumps(TINY_CLIP))
    (folder / "tiny-siglip.json").write_text(json.dumps({**TINY_CLIP, "custom_text": True}))
    before = open_clip.factory._MODEL_CONFIG_PATHS.copy()
    patch = pytest.MonkeyPatch()
    patch.setattr(open_clip_provider, "_configs_folder", lambda: folder)
    open_clip.add_model_config(folder)
    yield
    patch.undo()
    open_clip.factory._MODEL_CONFIG_PATHS[:] = before
    open_clip.factory._rescan_model_configs()
    open_clip_provider.find.cache_clear()


def build_case(case: Case, trainable: str = "all", **keys: object) -> Backbone:
    wanted = {"pretrained": False, "image_size": case.image_size, "seed": 3, **keys}
    return build_backbone(case.name, NUM_CLASSES, trainable=trainable, **wanted)  # type: ignore[arg-type]


def images(case: Case) -> torch.Tensor:
    side = case.image_size
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def weights_file(case: Case, folder: Path, change: Callable[[dict], None] | None = None) -> Path:
    """Write weights as the library publishes them, its own head included; return the file."""
    torch.manual_seed(8)
    model = case.name.partition(":")[2]
    if case.name.startswith("timm:"):
        state = timm.create_model(model, num_classes=11).state_dict()
    else:
        state = open_clip.CLIP(**TINY_CLIP).state_dict()
    if change:
        change(state)
    path = folder / f"{model}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
small = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
from_files = pytest.mark.parametrize(
    "case", [case for case in CASES if ":" in case.name], ids=lambda case: case.name
)


@cases
def test_the_facts_are_those_of_the_network(case: Case) -> None:
    spec = find_backbone(case.name)
    assert (spec.name, spec.width, spec.has_linear_layers) == (case.name, case.width, case.lora)
    check_image_size(case.name, case.image_size)
    check_images(case.name, case.image_size)
    trunk = build_case(case).trunk
    stored = sum(t.numel() * t.element_size() for t in trunk.state_dict().values())
    assert spec.megabytes == pytest.approx(stored / 1e6, abs=1)
    assert spec.licence


@cases
def test_equal_seeds_give_equal_weights(case: Case) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    first, again, other = build_case(case), build_case(case), build_case(case, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    state = again.state_dict()
    assert all(torch.equal(state[name], t) for name, t in first.state_dict().items())
    assert not torch.equal(first.head.weight, other.head.weight)
    named = other.trunk.state_dict()
    assert any(not torch.equal(named[name], t) for name, t in first.trunk.state_dict().items())


@cases
def test_pooled_features_and_a_trip_through_a_file(case: Case) -> None:
    model = build_case(case).eval()
    state = model.state_dict()
    assert all(name.startswith(("trunk.", "head.")) for name in state)
    assert model.sent_part().keys() == state.keys()
    before = torch.get_rng_state()
    received = build_empty(case.name, NUM_CLASSES, image_size=case.image_size).eval()
    assert torch.equal(torch.get_rng_state(), before)
    received.load_state_dict(load(save(state)), strict=True)
    with torch.no_grad():
        assert model.features(images(case)).shape == (2, case.width)
        assert torch.equal(received(images(case)), model(images(case)))
    assert part_size(case.name, NUM_CLASSES, "all").parameters == sum(
        parameter.numel() for parameter in model.parameters()
    )


@small
@pytest.mark.parametrize("trainable", ["head", "adapter", "lora"])
def test_a_trained_part_is_beside_or_inside_the_frozen_trunk(case: Case, trainable: str) -> None:
    if trainable == "lora" and not case.lora:
        with pytest.raises(ValueError, match="no attention and no linear layer"):
            build_case(case, trainable)
        return
    whole, model = build_case(case).eval(), build_case(case, trainable)
    marks = {"head": ("head.",), "adapter": ("head.", "adapter."), "lora": ("head.", ".lora_")}
    sent, base = model.sent_part(), model.base()
    assert all(any(mark in name for mark in marks[trainable]) for name in sent)
    assert sent.keys() == model.trained().keys()
    assert sent.keys() | base.keys() == model.state_dict().keys()
    with torch.no_grad():  # every part starts as no change
        torch.testing.assert_close(model.eval()(images(case)), whole(images(case)))

    statistics = {name: tensor.clone() for name, tensor in base.items()}
    optimizer = torch.optim.SGD(model.trained().values(), lr=0.1)
    for _ in range(2):  # LoRA's first step moves B only
        loss = model.train()(images(case)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(statistics[name], tensor) for name, tensor in model.base().items())
    if trainable != "lora":
        light = over_features(case.name, NUM_CLASSES, trainable=trainable).eval()
        light.load_state_dict(model.sent_part(), strict=True)
        with torch.no_grad():
            features = model.eval().trunk(images(case))
            assert torch.equal(light(features), model(images(case)))


@from_files
def test_published_weights_are_read_without_their_head(case: Case, tmp_path: Path) -> None:
    path = weights_file(case, tmp_path)
    spec = find_backbone(case.name)
    provider = PROVIDERS[spec.provider]
    assert provider.find_weights(spec, tmp_path) == path
    model = build_case(case, pretrained=True, weights_dir=tmp_path).eval()
    kept = load_file(path)
    for name, tensor in model.trunk.state_dict().items():
        original = kept[name if case.name.startswith("timm:") else f"visual.{name}"]
        assert torch.equal(tensor, original), name
    path.write_bytes(bytes(path.stat().st_size))  # would show through a mapped tensor
    with torch.no_grad():
        assert model(images(case)).isfinite().all()


@from_files
@pytest.mark.parametrize("fault", ["fewer", "more", "wider"])
def test_another_networks_file_is_refused(case: Case, fault: str, tmp_path: Path) -> None:
    prefix = "" if case.name.startswith("timm:") else "visual."

    def change(state: dict) -> None:
        first = next(name for name in state if name.startswith(prefix) and state[name].ndim > 1)
        if fault == "fewer":
            del state[first]
        elif fault == "more":
            state[f"{prefix}more"] = torch.zeros(1)
        else:
            state[first] = torch.zeros(3, 3)

    path = weights_file(case, tmp_path, change)
    with pytest.raises(WeightsError, match=r"weights of") as caught:
        build_case(case, pretrained=True, weights_dir=tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@from_files
def test_a_missing_file_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^weights-dir: .*safetensors is not in") as caught:
        build_case(case, pretrained=True, weights_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_timm_computes_today_may_stand_in_a_file(tmp_path: Path) -> None:
    (case,) = [case for case in CASES if "swin" in case.name]
    trunk = build_case(case).trunk
    (table, *_) = {name for name, _ in trunk.named_buffers()} - trunk.state_dict().keys()

    def add_table(state: dict) -> None:
        state[table] = torch.zeros(1)

    weights_file(case, tmp_path, add_table)
    model = build_case(case, pretrained=True, weights_dir=tmp_path)
    assert torch.equal(model.trunk.get_buffer(table), trunk.get_buffer(table))


def test_timm_says_size_normalisation_and_licence() -> None:
    spec = find_backbone("timm:test_vit")
    assert (spec.fixed_image_size, spec.mean, spec.std) == (160, (0.5,) * 3, (0.5,) * 3)
    assert spec.weights == "timm/test_vit.r160_in1k"
    assert spec.licence == "timm, apache-2.0; timm/test_vit.r160_in1k"
    with pytest.raises(BackboneError, match=r"^timm:test_vit takes images of 160 pixels only"):
        check_image_size("timm:test_vit", 192)
    tagged = find_backbone("timm:test_vit.r160_in1k")
    assert replace(tagged, name=spec.name, builder=spec.builder) == spec
    assert find_backbone("timm:test_efficientnet").fixed_image_size is None


def test_a_part_that_timm_freezes_is_trained() -> None:
    model = build_backbone("timm:efficientvim_m1_dist", 2, pretrained=False, image_size=224, seed=0)
    assert model.sent_part().keys() == model.state_dict().keys()
    assert model.train().trunk.training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet19", "timm has no model 'resnet19'; did you mean resnet1"),
        ("timm:test_vit.r161", "timm has no weights 'test_vit.r161'; it has test_vit.r160_in1k"),
        ("timm:qqq", r"timm has no model 'qqq'; timm.list_models\(\) has the names"),
        ("open_clip:tiny.openai", "open_clip has no weights 'openai' of tiny; known are none"),
    ],
)
def test_a_name_that_only_the_library_can_refuse(name: str, message: str) -> None:
    assert known(name) is None
    with pytest.raises(BackboneError, match=f"^{message}"):
        find_backbone(name)


@pytest.mark.parametrize(
    "name",
    [
        *("timm:../x", "timm:a/b", "timm:", "timm:hf-hub:x/y", "timm:A", "timm:x\n", "timm: x"),
        *("open_clip:../x", "open_clip:", "open_clip:a b", "open_clip:tinny"),
        "open_clip:hf-hub:a/b",
        *("torchvision:resnet18", "tim:resnet18", "resnet19", "", ":"),
    ],
)
def test_a_name_that_needs_no_library_to_be_refused(name: str) -> None:
    with pytest.raises(BackboneError) as caught:
        known(name)
    assert "\n" not in str(caught.value)


def test_a_clip_trains_against_its_own_text_tower(tmp_path: Path) -> None:
    """Both come from one file; another file has other text features, though the name is equal."""
    (case,) = [case for case in CASES if case.name.startswith("open_clip:")]
    encoder = text_encoders.find_text_encoder(case.name)
    assert (encoder.width, encoder.image_tower) == (case.width, case.name)
    path = weights_file(case, tmp_path)
    model = open_clip.CLIP(**TINY_CLIP).eval()
    model.load_state_dict(load_file(path))
    prompts = ("a picture of a naevus", "a picture of a melanoma")

    def features() -> torch.Tensor:
        found = open_text_features(
            case.name,
            prompts,
            pretrained=True,
            weights_dir=tmp_path,
            seed=0,
            cache_dir=tmp_path / "cache",
        )
        return torch.tensor(found.features)

    with torch.no_grad():
        expected = nn.functional.normalize(model.encode_text(open_clip.tokenize(prompts)), dim=1)
    torch.testing.assert_close(features(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(features(), expected, rtol=0, atol=1e-5)  # cached

    def other(state: dict) -> None:
        state["text_projection"] += 1

    weights_file(case, tmp_path, other)
    assert not torch.allclose(features(), expected)
    with pytest.raises(BackboneError, match="text tower of another kind"):
        text_encoders.find_text_encoder("open_clip:tiny-siglip")
