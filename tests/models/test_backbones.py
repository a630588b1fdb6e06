"""The table of backbones against their libraries, and what every built backbone can do."""

import copy

import open_clip
import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torchvision.models import get_model, get_model_weights

from models.backbones import Backbone, build_backbone, build_empty
from models.errors import BackboneError
from models.provider import BackboneSpec
from models.registry import BACKBONES, SMALLEST_IMAGE, check_image_size, find_backbone
from models.text_encoders import TEXT_ENCODERS
from tests.support import LARGER_SIZES

NUM_CLASSES = 7
# Real numbers go through one of each family in the quick tests, and others in the slow ones.
QUICK = {"convnext_t", "maxvit_t", "swin_t", "swin_v2_t", "resnet18"}
TORCHVISION = [s for s in BACKBONES.values() if s.provider == "torchvision"]
OPEN_CLIP = [s for s in BACKBONES.values() if s.provider == "open_clip"]
ANY_SIZE = ["convnext_t", "swin_t", "swin_v2_t", "resnet18"]


def smallest_size(name: str) -> int:
    return find_backbone(name).fixed_image_size or SMALLEST_IMAGE


def images(name: str, device: str = "cpu") -> torch.Tensor:
    size = smallest_size(name)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, size, size, generator=generator).to(device)


def fresh(name: str, seed: int = 0) -> Backbone:
    return build_backbone(
        name, NUM_CLASSES, pretrained=False, image_size=smallest_size(name), seed=seed
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in BACKBONES
        if name not in LARGER_SIZES
    ],
)
def built(request: pytest.FixtureRequest) -> tuple[str, Backbone]:
    """Name and model, drawn once for all tests of the module: no test may change it."""
    return request.param, fresh(request.param).eval()


@pytest.mark.parametrize("spec", TORCHVISION, ids=lambda spec: spec.name)
def test_table_says_what_torchvision_says(spec: BackboneSpec) -> None:
    with torch.device("meta"):
        network = get_model(spec.builder)
    modules = dict(network.named_modules())
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    assert spec.classifier == linear[-1]
    assert modules[spec.classifier].in_features == spec.width
    stored = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    classifier = 4 * sum(p.numel() for p in modules[spec.classifier].parameters())
    assert spec.megabytes == pytest.approx((stored - classifier) / 1e6, abs=1)
    assert not any(m.p for m in modules.values() if isinstance(m, nn.Dropout))

    weights = get_model_weights(spec.builder)[spec.weights]
    preprocessing = weights.transforms()
    assert preprocessing.mean == list(spec.mean)
    assert preprocessing.std == list(spec.std)
    assert ("SWAG" in spec.licence) == ("SWAG" in weights.meta.get("license", ""))
    # The study's one exception: torchvision's default for vit_l_16 is another training.
    is_default = weights is get_model_weights(spec.builder).DEFAULT
    assert is_default == (spec.name != "vit_l_16")


@pytest.mark.parametrize("spec", OPEN_CLIP, ids=lambda spec: spec.name)
def test_table_says_what_open_clip_says(spec: BackboneSpec) -> None:
    with torch.device("meta"):
        tower = open_clip.CLIP(**open_clip.get_model_config(spec.builder)).visual
    assert tower.output_dim == spec.width
    assert (
        spec.fixed_image_size
        == open_clip.get_model_config(spec.builder)["vision_cfg"]["image_size"]
    )
    stored = sum(t.numel() * t.element_size() for t in tower.state_dict().values())
    assert spec.megabytes == pytest.approx(stored / 1e6, abs=1)
    modules = list(tower.modules())
    assert not any(m.p for m in modules if isinstance(m, nn.Dropout))

    weights = open_clip.get_pretrained_cfg(spec.builder, "openai")
    assert weights["hf_hub"] == f"{spec.weights}/"
    assert (spec.mean, spec.std) == (weights["mean"], weights["std"])
    # It comes in one file with the text encoder that it was trained against, in one width.
    (own,) = [e for e in TEXT_ENCODERS.values() if e.image_tower == spec.name]
    assert (own.builder, own.repository, own.width) == (spec.builder, spec.weights, spec.width)


def test_table_has_the_studys_names_in_its_order() -> None:
    assert list(BACKBONES) == [
        *("convnext_t", "convnext_s", "convnext_b", "convnext_l", "maxvit_t"),
        *("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b", "vit_l_16"),
        "resnet18",
        *("clip-vit-b-32", "clip-rn50"),
    ]


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_and_names(name: str) -> None:
    """On the meta device, which infers shapes without computing, so that all fifteen are quick."""
    size = smallest_size(name)
    model = build_empty(name, NUM_CLASSES, image_size=size).to("meta").eval()
    batch = images(name, "meta")
    assert model(batch).shape == (2, NUM_CLASSES)
    assert model.features(batch).shape == (2, find_backbone(name).width)
    state = model.state_dict()
    own = [key for key in state if not key.startswith("trunk.")]
    assert own == ["head.weight", "head.bias"]
    # A buffer outside the state dict would be undefined in what build_empty returns.
    assert {key for key, _ in model.named_buffers()} <= set(state)


def test_outputs_are_finite_and_of_the_declared_shapes(built: tuple[str, Backbone]) -> None:
    name, model = built
    with torch.no_grad():
        features, logits = model.features(images(name)), model(images(name))
    assert features.shape == (2, find_backbone(name).width)
    assert logits.shape == (2, NUM_CLASSES)
    assert logits.isfinite().all()
    # Not vit_l_16's own head, which starts at zero and would give the trunk no gradient.
    assert torch.equal(logits, model.head(features))
    assert logits.any()


def test_every_parameter_gets_a_gradient(built: tuple[str, Backbone]) -> None:
    """In evaluation mode, where the graph is whole.

    In training mode stochastic depth drops blocks, and BatchNorm cancels any constant ahead of
    it: maxvit's pre_norm biases have no gradient there but rounding.
    """
    name, model = built
    if name == "clip-rn50":  # its residual branches start scaled by zero
        model = copy.deepcopy(model)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
    logits = model(images(name))
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad((logits * weights).sum(), list(parameters.values()))
    for key, gradient in zip(parameters, gradients, strict=True):
        assert gradient.isfinite().all(), key
        # What is added to all keys alike changes no attention: nothing but rounding.
        assert gradient.any() or key == "trunk.attnpool.k_proj.bias", key


def test_weights_travel_bit_for_bit_into_an_empty_model(built: tuple[str, Backbone]) -> None:
    name, model = built
    state = model.state_dict()
    received = load(save(state))  # raises where two tensors share memory
    assert received.keys() == state.keys()
    for key, tensor in state.items():
        assert received[key].dtype == tensor.dtype
        assert torch.equal(received[key], tensor), key

    empty = build_empty(name, NUM_CLASSES, image_size=smallest_size(name)).eval()
    for tensor in (*empty.parameters(), *empty.buffers()):
        # Fill memory with NaN, so that a value left from before the load cannot look right by luck.
        tensor.data.fill_(float("nan") if tensor.is_floating_point() else -(2**40))
    empty.load_state_dict(received, strict=True)
    with torch.no_grad():
        assert torch.equal(empty(images(name)), model(images(name)))


def test_seed_decides_and_the_callers_generator_is_left_alone(
    built: tuple[str, Backbone],
) -> None:
    name, model = built
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    again = fresh(name).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(again[key], tensor) for key, tensor in model.state_dict().items())


def test_another_seed_gives_another_trunk_and_head() -> None:
    first, other = fresh("resnet18").state_dict(), fresh("resnet18", seed=1).state_dict()
    for key in ("trunk.conv1.weight", "head.weight", "head.bias"):
        assert not torch.equal(first[key], other[key])


def test_trunk_does_not_depend_on_the_number_of_classes() -> None:
    two = build_backbone("resnet18", 2, pretrained=False, image_size=64, seed=0)
    seven = build_backbone("resnet18", 7, pretrained=False, image_size=64, seed=0)
    expected = two.trunk.state_dict()
    assert all(torch.equal(expected[key], t) for key, t in seven.trunk.state_dict().items())
    assert two.head.out_features == 2


def test_an_identity_head_passes_the_features_on() -> None:
    model = build_backbone(
        "clip-rn50", 1024, pretrained=False, image_size=224, seed=0, identity_head=True
    ).eval()
    with torch.no_grad():
        assert torch.equal(model(images("clip-rn50")), model.features(images("clip-rn50")))
    drawn = build_backbone("clip-rn50", 1024, pretrained=False, image_size=224, seed=0)
    for key, tensor in drawn.trunk.state_dict().items():
        assert torch.equal(tensor, model.trunk.state_dict()[key]), key


def test_an_identity_between_unequal_widths_is_refused() -> None:
    with pytest.raises(BackboneError, match="clip-rn50 has 1024 features, so no identity head"):
        build_backbone(
            "clip-rn50", 768, pretrained=False, image_size=224, seed=0, identity_head=True
        )


def test_training_mode_counts_batches() -> None:
    model = fresh("resnet18").train()
    loss = model(images("resnet18")).square().sum()
    loss.backward()
    assert loss.isfinite()
    counters = [b for key, b in model.named_buffers() if key.endswith("num_batches_tracked")]
    assert counters
    assert all(counter.item() == 1 and counter.dtype == torch.int64 for counter in counters)


@pytest.mark.parametrize("name", ANY_SIZE)
def test_any_size_from_the_smallest_is_taken(name: str) -> None:
    """Sizes on, beside and far from the multiples of 32 and of Swin's windows (28, 32 pixels)."""
    model = fresh(name).eval()
    for size in (32, 33, 63, 64, 97, 112, 150):
        check_image_size(name, size)
        with torch.no_grad():
            logits = model(torch.ones(1, 3, size, size))
        assert logits.shape == (1, NUM_CLASSES)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", BACKBONES)
def test_impossible_sizes_are_refused(name: str) -> None:
    check_image_size(name, 224)
    with pytest.raises(BackboneError, match=f"^{name} takes images of .* not 31$"):
        check_image_size(name, 31)
    if find_backbone(name).fixed_image_size is not None:
        with pytest.raises(BackboneError, match=f"^{name} takes images of 224 pixels only"):
            check_image_size(name, 256)


def test_builders_check_the_size_first() -> None:
    with pytest.raises(BackboneError, match="224 pixels only"):
        build_backbone("vit_l_16", 7, pretrained=False, image_size=64, seed=0)
    with pytest.raises(BackboneError, match="32 pixels or more"):
        build_empty("swin_t", 7, image_size=16)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        BackboneError,
        match=r"'resnet19'; did you mean resnet18. Known are convnext_t, .*, clip-",
    ):
        find_backbone("resnet19")
