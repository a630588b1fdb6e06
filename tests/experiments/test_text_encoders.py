"""``fedskin clip`` against each of the study's text encoders, whose towers have random weights."""

from pathlib import Path

import numpy as np
import pytest

from models.text_features import TextFeatures
from tests.runs import fedskin, read_json, tiny_options
from training.run_folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "text_encoder, width", [("ViT-L/14", 768), ("RN50x16", 768), ("RN50x64", 1024)]
)
def test_images_are_projected_to_the_texts_width(
    text_encoder: str, width: int, synthetic_ham: Path, tmp_path: Path
) -> None:
    options = tiny_options(synthetic_ham, tmp_path / "cache", text_encoder=text_encoder, epochs=1)
    result = fedskin("clip", *options, "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    said = " ".join(result.stdout.split())  # a title is as wide as its table
    assert f"RANDOM text tower (random, seed 0) instead of CLIP's {text_encoder}" in said
    folder = RunFolder(tmp_path / "out")
    text = TextFeatures.load(folder.text_path)
    assert (text.encoder, text.features.shape) == (text_encoder, (7, width))
    np.testing.assert_allclose(np.linalg.norm(text.features, axis=1), 1, rtol=1e-5)
    assert folder.checkpoint.weights(1)["head.weight"].shape == (width, 512)
    assert read_json(folder.path / "metrics.json")["global_test"]["n"] == 70
