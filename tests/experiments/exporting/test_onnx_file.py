"""``fedskin export --onnx``: the file answers as the run's network, and says how to use it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.export import export_command
from experiments.exporting import onnx_file
from experiments.exporting.exported_model import ExportedModel, ExportError, open_for_export
from experiments.exporting.onnx_file import write_onnx
from experiments.trained_model import TrainedModel, find_model, open_network
from models.backbones import Backbone, build_backbone
from models.registry import find_backbone
from tests.experiments.exporting.exported_runs import CALIBRATION, CLASSES, finished_run
from tests.support import BACKBONE, make_config, make_text, state_of
from training.errors import RunFolderError
from training.model_file import ModelFile
from training.temperature import calibrated

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def images_of(number: int, size: int = 32) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((number, 3, size, size), dtype=np.float32)


def answers_of(source: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the run's network answers to images that are normalised here."""
    network, _ = open_network(find_model(source, None), "cpu")
    normalised = (images - MEAN[:, None, None]) / STD[:, None, None]
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(normalised)).softmax(dim=1).numpy()


def test_the_file_answers_as_the_run_and_says_how_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = finished_run(tmp_path / "run"), tmp_path / "new" / "a.onnx"
    export_command(run.path, onnx=path)
    said = capsys.readouterr().out
    assert "differ by at most" in said
    assert "SYNTHETIC" in said
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = images_of(5)
    plain, tempered = session.run(["probabilities", "calibrated"], {"images": images})
    np.testing.assert_allclose(plain, answers_of(run.path, images), atol=1e-5)
    np.testing.assert_allclose(tempered, calibrated(plain, 2.0), atol=1e-5)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == CLASSES
    assert json.loads(facts["calibration"]) == CALIBRATION.to_block()
    assert float(facts["temperature"]) == 2.0
    assert facts["input"] == "images: float32 (N, 3, 32, 32), RGB in 0 to 1, normalised in the file"
    assert "resized to 37 x 37 pixels, then to 32 x 32" in facts["preprocessing"]
    assert "not for diagnosis" in facts["notice"]
    assert b"site-packages" not in path.read_bytes(), "the exporter's stack traces name paths"


@pytest.mark.slow
def test_images_against_text_with_the_text_inside(tmp_path: Path) -> None:
    config = make_config(objective="clip", text_encoder="ViT-B/32")
    network = build_backbone(BACKBONE, 16, pretrained=False, image_size=32, seed=0)
    file, path = tmp_path / "final.safetensors", tmp_path / "a.onnx"
    text = make_text(7)
    ModelFile(config, tuple(CLASSES), state_of(network), text, "0" * 32, 1, False).save(file)
    export_command(file, onnx=path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["probabilities"]
    images = images_of(3)
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, answers_of(file, images), atol=1e-5)
    facts = session.get_modelmeta().custom_metadata_map
    assert "temperature" not in facts
    assert facts["uncalibrated"].startswith("a model file has no calibration")


class Unknown(nn.Module):
    """A trunk with an operation that ONNX has not."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images.flatten(1)[:, :512])


def exported(network: Backbone, **changes: Any) -> ExportedModel:
    config = make_config(**changes)
    model = TrainedModel(config, ("a", "b", "c"), None, lambda: ({}, None))
    return ExportedModel(model, find_backbone(config.backbone), network.eval())


def test_an_operator_that_onnx_has_not_is_named(tmp_path: Path) -> None:
    network = Backbone(Unknown(), nn.Linear(512, 3))
    said = f"{BACKBONE}: cannot be written as ONNX: operator prims.bessel_j0"
    with pytest.raises(ExportError, match=said):
        write_onnx(exported(network), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Backbone(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    monkeypatch.setattr(onnx_file, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match=r"differ from torch's by up to .* was not written"):
        write_onnx(exported(network), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


class Otherwise(nn.Module):
    """A trunk that the exporter sees otherwise, by a fifth."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * (1.2 if torch.compiler.is_exporting() else 1.0)


def test_a_file_of_a_very_sure_network_that_answers_otherwise_is_not_written(
    tmp_path: Path,
) -> None:
    """All its probabilities for random images are 0 and 1, of both programs."""
    head = nn.Linear(3 * 32 * 32, 3)
    head.weight.data *= 10_000
    said = r"differ from torch's by up to .* and its logits by 0\.\d+ of what they are apart"
    with pytest.raises(ExportError, match=said):
        write_onnx(exported(Backbone(Otherwise(), head)), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
    sure = Backbone(nn.Flatten(), head)
    assert write_onnx(exported(sure), tmp_path / "a.onnx").difference <= 1e-5


def test_without_the_extra_the_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    network = Backbone(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    with pytest.raises(ExportError, match=r"pip install -c constraints.txt -e '.\[export\]'"):
        write_onnx(exported(network), tmp_path / "a.onnx")


def test_what_is_not_one_network_for_all_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", strategy="fedbn", calibrated=False)
    with pytest.raises(RunFolderError, match=r"strategy = fedbn \d+ of .* stay at each client"):
        open_for_export(run.path)
    with pytest.raises(ExportError, match="a head of scikit-learn"):
        open_for_export(run.path / "heads" / "svm.skops")


# docs/export.md lists the others that were tried by hand: each takes half a minute of CPU.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnext_t", "swin_t", "maxvit_t", "clip-vit-b-32"])
def test_a_network_of_each_family(name: str, tmp_path: Path) -> None:
    size = find_backbone(name).fixed_image_size or 64
    network = build_backbone(name, 3, pretrained=False, image_size=size, seed=0)
    written = write_onnx(exported(network, backbone=name, image_size=size), tmp_path / "a.onnx")
    assert written.difference <= 1e-5
