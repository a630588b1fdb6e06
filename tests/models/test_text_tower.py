"""The text tower alone against a whole CLIP model, and files that hold something else."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F

from models.errors import WeightsError
from models.text_encoders import TEXT_ENCODERS
from models.text_tower import encode_pretrained, encode_random
from tests.models import clip_models

PROMPTS = ("a picture of a melanoma", "a picture of a melanocytic nevus")
SPEC = TEXT_ENCODERS[clip_models.ENCODER]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    return clip_models.make_small(monkeypatch)


def features_of(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.encode_text(open_clip.tokenize(list(PROMPTS)), normalize=True)


def test_features_are_those_of_the_whole_model(small: Any, tmp_path: Path) -> None:
    features, logit_scale = encode_pretrained(SPEC, PROMPTS, clip_models.bring(small, tmp_path))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, features_of(small), rtol=0, atol=1e-6)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    # What a new CLIP starts from: ln(1 / 0.07).
    assert logit_scale == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_files_of_half_the_bits_are_computed_with_in_float32(
    dtype: torch.dtype, small: Any, tmp_path: Path
) -> None:
    """As the whole model with rounded weights, which shows far beyond float32's own rounding."""
    path = clip_models.bring(small, tmp_path, dtype)
    exact = features_of(small)
    for tensor in small.state_dict().values():
        tensor.copy_(tensor.to(dtype))
    features, _ = encode_pretrained(SPEC, PROMPTS, path)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, features_of(small), rtol=0, atol=1e-6)
    assert (features - exact).abs().max() > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_features_of_the_real_architectures(name: str, tmp_path: Path) -> None:
    spec = TEXT_ENCODERS[name]
    model = clip_models.draw(open_clip.get_model_config(spec.builder))
    path = clip_models.bring(model, tmp_path)
    features, _ = encode_pretrained(spec, PROMPTS, path)
    path.unlink()  # hundreds of megabytes, and pytest keeps the folders of three runs
    torch.testing.assert_close(features, features_of(model), rtol=0, atol=1e-5)


def test_nothing_of_the_image_tower_is_needed(small: Any, tmp_path: Path) -> None:
    path = clip_models.bring(small, tmp_path)
    visual = [key for key in small.state_dict() if key.startswith("visual.")]
    clip_models.rewrite(path, **dict.fromkeys(visual))
    features, _ = encode_pretrained(SPEC, PROMPTS, path)
    torch.testing.assert_close(features, features_of(small), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        *("ViT-B/32", "RN50"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("ViT-L/14", "RN50x16", "RN50x64")),
    ],
)
def test_a_random_tower_is_decided_by_its_seed(name: str) -> None:
    spec = TEXT_ENCODERS[name]
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    features, logit_scale = encode_random(spec, PROMPTS, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert features.shape == (2, spec.width)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    assert logit_scale == 100
    assert torch.equal(features, encode_random(spec, PROMPTS, seed=0)[0])
    assert not torch.equal(features, encode_random(spec, PROMPTS, seed=1)[0])


def test_long_prompts_are_cut() -> None:
    features, _ = encode_random(SPEC, ["a picture of a " + "very " * 200 + "long name"], seed=0)
    assert features.isfinite().all()


@pytest.mark.parametrize("builder", [spec.builder for spec in TEXT_ENCODERS.values()])
def test_table_says_what_open_clip_says(builder: str) -> None:
    (spec,) = [s for s in TEXT_ENCODERS.values() if s.builder == builder]
    config = open_clip.get_model_config(builder)
    assert config["embed_dim"] == spec.width
    assert config["quick_gelu"] is True
    assert f"{spec.repository}/" == open_clip.get_pretrained_cfg(builder, "openai")["hf_hub"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ln_final.bias": None}, "ln_final.bias"),
        ({"logit_scale": None}, "logit_scale"),
        ({"logit_bias": torch.zeros(())}, "logit_bias"),
        ({"text_projection": torch.zeros(32, 768)}, "text_projection"),
        ({"ln_final.weight": torch.ones(32, dtype=torch.int64)}, "ln_final.weight"),
        ({"ln_final.weight": torch.ones(32, dtype=torch.float64)}, "ln_final.weight"),
    ],
)
def test_another_text_tower_is_refused(
    changes: dict[str, Any], named: str, small: Any, tmp_path: Path
) -> None:
    path = clip_models.bring(small, tmp_path)
    clip_models.rewrite(path, **changes)
    with pytest.raises(WeightsError) as caught:
        encode_pretrained(SPEC, PROMPTS, path)
    assert str(caught.value) == (
        f"{path} does not hold the text tower of ViT-B/32: {named} is missing, not "
        "expected, or of another shape or type"
    )


def test_damaged_files_are_refused(small: Any, tmp_path: Path) -> None:
    path = clip_models.bring(small, tmp_path)
    whole = path.read_bytes()
    for content in (whole[:-1], b"", b"<html>not found</html>"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"is not a safetensors file \(") as caught:
            encode_pretrained(SPEC, PROMPTS, path)
        assert "\n" not in str(caught.value)


def test_weights_that_lead_to_nan_are_refused(small: Any, tmp_path: Path) -> None:
    path = clip_models.bring(small, tmp_path)
    clip_models.rewrite(path, **{"ln_final.weight": torch.full((32,), float("nan"))})
    with pytest.raises(WeightsError, match="holds NaN or infinity"):
        encode_pretrained(SPEC, PROMPTS, path)
    clip_models.rewrite(path, **{"ln_final.weight": F.one_hot(torch.tensor(0), 32).float()})
    encode_pretrained(SPEC, PROMPTS, path)
