"""Text features: computed once, found again without torch, and checked whatever their source."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import models.text_tower
from models.errors import BackboneError, WeightsError
from models.text_features import TextFeatures, open_text_features, prompts, store
from tests.models import clip_models

ENCODER = clip_models.ENCODER
PROMPTS = prompts(["melanoma", "dermatofibroma"])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    return clip_models.make_small(monkeypatch)


def made_up(**changes: Any) -> TextFeatures:
    """Two rows of ViT-B/32's width, each along an axis of its own."""
    features = np.eye(2, 512, dtype=np.float32)
    return replace(TextFeatures(ENCODER, PROMPTS, features, 100.0, "openai"), **changes)


def opened(cache_dir: Path, wanted: tuple[str, ...] = PROMPTS, **changes: Any) -> TextFeatures:
    arguments = {"pretrained": False, "weights_dir": None, "seed": 0, **changes}
    return open_text_features(ENCODER, wanted, cache_dir=cache_dir, **arguments)


def cached(cache_dir: Path) -> list[Path]:
    return sorted((cache_dir / "text-features").iterdir())


def assert_equal(first: TextFeatures, second: TextFeatures) -> None:
    np.testing.assert_array_equal(first.features, second.features)
    assert replace(first, features=second.features) == second


def test_prompts_are_the_studys() -> None:
    assert prompts(["melanoma"]) == ("a picture of a melanoma",)


@pytest.mark.usefixtures("small")
def test_random_features_say_so_and_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tmp_path)
    assert first.features.shape == (2, 512)
    assert first.features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first.features, axis=1), 1, rtol=1e-6)
    assert (first.weights, first.logit_scale, first.prompts) == ("random, seed 0", 100, PROMPTS)
    monkeypatch.setattr(models.text_tower, "encode_random", lambda *_: pytest.fail("again"))
    assert_equal(opened(tmp_path), first)


def test_trained_features_come_with_their_logit_scale(small: Any, tmp_path: Path) -> None:
    file = clip_models.bring(small, tmp_path / "weights")
    found = opened(tmp_path, pretrained=True, weights_dir=tmp_path / "weights")
    assert found.weights == "openai"
    assert found.logit_scale == pytest.approx(1 / 0.07)  # what a new CLIP starts from
    file.unlink()  # the cache has no need of it, nor is the seed of any meaning
    assert_equal(opened(tmp_path, pretrained=True, weights_dir=None, seed=7), found)


@pytest.mark.usefixtures("small")
def test_each_encoder_prompts_and_weights_have_a_file(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path, PROMPTS[::-1])
    opened(tmp_path, (PROMPTS[0] + PROMPTS[1],))
    opened(tmp_path, seed=1)
    assert len(cached(tmp_path)) == 4


def test_cached_features_need_no_torch(tmp_path: Path) -> None:
    store(made_up(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from models.text_features import *;"
        f"open_text_features({ENCODER!r}, {PROMPTS!r}, pretrained=True, weights_dir=None, seed=0,"
        f" cache_dir=Path({str(tmp_path)!r}));"
        "assert not {'torch', 'open_clip', 'huggingface_hub'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_encoder_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"'ViT-H/14'; did you mean .* Known are ViT-L/14"):
        open_text_features(
            "ViT-H/14", PROMPTS, pretrained=False, weights_dir=None, seed=0, cache_dir=tmp_path
        )


def test_without_weights_the_text_features_alone_are_another_remedy(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        opened(tmp_path / "cache", pretrained=True, weights_dir=tmp_path)
    message = str(caught.value)
    assert message.startswith(f"weights-dir: {clip_models.NAME}/open_clip_model.safetensors is not")
    assert message.endswith(
        "or set pretrained = false, or copy only the text features: "
        "fedskin text-features export, import"
    )
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "other",
    [
        made_up(prompts=prompts(["melanoma", "vascular lesion"])),
        made_up(prompts=PROMPTS[::-1]),
        made_up(encoder="RN50", features=np.eye(2, 1024, dtype=np.float32)),
        made_up(weights="random, seed 0"),
    ],
    ids=["classes", "order", "encoder", "weights"],
)
def test_cached_features_of_something_else_are_refused(other: TextFeatures, tmp_path: Path) -> None:
    path = store(made_up(), tmp_path)
    other.save(path)
    with pytest.raises(WeightsError, match="holds the text features of other classes") as caught:
        opened(tmp_path, pretrained=True)
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).endswith("; delete it")


def test_a_file_keeps_everything(tmp_path: Path) -> None:
    for saved in (made_up(), made_up(logit_scale=1 / 3, weights="random, seed 12")):
        saved.save(tmp_path / "new" / "file")
        assert_equal(TextFeatures.load(tmp_path / "new" / "file"), saved)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new" / "file").stat().st_size < 2 * 512 * 4 + 600


def rows(*lengths: float) -> np.ndarray:
    features = np.zeros((2, 512), np.float32)
    np.fill_diagonal(features, lengths)
    return features


@pytest.mark.parametrize(
    ("unsound", "said"),
    [
        ({"encoder": "ViT-H/14"}, "no text encoder is called 'ViT-H/14'"),
        ({"features": np.eye(2, 768, dtype=np.float32)}, r"features \(2, 768\) in float32, but"),
        ({"features": np.eye(3, 512, dtype=np.float32)}, r"its prompts give \(2, 512\) in float32"),
        ({"features": np.eye(2, 512, dtype=np.float64)}, r"features \(2, 512\) in float64, but"),
        ({"features": rows(1, 1.01)}, "a row is not of unit length"),
        ({"features": rows(1, 0)}, "a row is not of unit length"),
        ({"features": rows(1, np.nan)}, "a row is not of unit length"),
        ({"features": rows(1, np.inf)}, "a row is not of unit length"),
        ({"prompts": (), "features": np.zeros((0, 512), np.float32)}, "its prompts are not texts"),
        ({"prompts": ("a", 2)}, "its prompts are not texts"),
        ({"logit_scale": 0.0}, "logit scale 0.0"),
        ({"logit_scale": float("inf")}, "logit scale inf"),
        ({"logit_scale": float("nan")}, "logit scale nan"),
    ],
)
def test_unsound_features_are_refused(unsound: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    made_up(**unsound).save(path)
    with pytest.raises(WeightsError, match=said) as caught:
        TextFeatures.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a valid file of text features (")
    assert message.endswith("); delete it, then copy or compute it again")
    assert "\n" not in message


def test_a_length_within_float16s_rounding_passes(tmp_path: Path) -> None:
    made_up(features=rows(1, 1.0005)).save(tmp_path / "file")
    lengths = np.linalg.norm(TextFeatures.load(tmp_path / "file").features, axis=1)
    np.testing.assert_allclose(lengths, [1, 1.0005], rtol=1e-6)


def test_alien_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    made_up().save(path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"<html>not found</html>"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="is not a valid file of text features"):
            TextFeatures.load(path)
    save_file({"features": np.eye(2, dtype=np.float32)}, path)
    with pytest.raises(WeightsError, match="its header does not describe them"):
        TextFeatures.load(path)
    save_file({"f": np.eye(2, dtype=np.float32)}, path, {"layout": "fedskin text features 1"})
    with pytest.raises(WeightsError, match="encoder"):
        TextFeatures.load(path)
    for missing in (tmp_path, tmp_path / "not there"):
        with pytest.raises(WeightsError, match=r"^.* cannot be read \(.+\)$"):
            TextFeatures.load(missing)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    path = tmp_path / "taken" / "file"
    with pytest.raises(WeightsError) as caught:
        made_up().save(path)
    assert str(caught.value).startswith(f"{path} cannot be written (")
