"""How far an ONNX file's answers to images are from torch's."""

from pathlib import Path

import pytest
import torch

from benchmarks import onnx_on_images
from benchmarks.onnx_on_images import measure
from data_partition.synthetic_ham10000 import write_ham10000
from experiments.exporting.exported_model import ExportedModel
from experiments.exporting.onnx_file import write_onnx
from tests.support import BACKBONE

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZE": 32, "COMPARED": 20, "OF_STATISTICS": 16}.items():
        monkeypatch.setattr(onnx_on_images, name, value)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_ham10000(folder, images=40, seed=0)
    return folder


def test_the_answers_are_those_of_torch(photographs: Path) -> None:
    probability, logit, others = measure(photographs, BACKBONE)
    assert 0 < probability <= 1e-5
    assert 0 < logit <= 1e-4
    assert others == 0


def test_another_network_is_seen(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bias of one class grows after the file was written."""

    def then_changed(exported: ExportedModel, path: Path) -> None:
        write_onnx(exported, path)
        with torch.no_grad():
            exported.network.head.bias[0] += 4

    monkeypatch.setattr(onnx_on_images, "write_onnx", then_changed)
    probability, logit, others = measure(photographs, BACKBONE)
    assert probability > 0.1
    assert logit > 0.5
    assert others > 0


def test_too_few_images_are_said(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_on_images, "COMPARED", 100)
    images = len(list(photographs.rglob("*.jpg")))
    assert images < 116
    with pytest.raises(SystemExit, match=f"has {images} images that can be used; 116 are needed"):
        measure(photographs, BACKBONE)
