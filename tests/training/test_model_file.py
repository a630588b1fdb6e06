"""The final model file of a site: it is read as written, and other files are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support import assert_same_bits, first_weights, make_config, make_text
from training.errors import RunFolderError
from training.model_file import ModelFile


def make_file(**changes: object) -> ModelFile:
    config = make_config(image_size=32)
    file = ModelFile(config, ("a", "b", "ç"), first_weights(), None, "0" * 32, 7, True)
    return replace(file, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("clip", [False, True])
def test_what_goes_in_comes_out(tmp_path: Path, clip: bool) -> None:
    saved = make_file(text=make_text() if clip else None)
    saved.save(tmp_path / "runs" / "model.safetensors")
    found = ModelFile.load(tmp_path / "runs" / "model.safetensors")
    assert_same_bits(found.weights, saved.weights)
    assert (found.config, found.classes) == (saved.config, saved.classes)
    assert (found.run, found.round, found.synthetic) == (saved.run, saved.round, True)
    if clip:
        assert found.text is not None
        assert found.text.logit_scale == make_text().logit_scale
        assert (found.text.features == make_text().features).all()
    else:
        assert found.text is None
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["model.safetensors"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(RunFolderError, match=r"model\.safetensors: this model cannot be read"):
        ModelFile.load(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(RunFolderError, match=r"model\.safetensors: this model cannot be read"):
        ModelFile.load(path)
    # A checkpoint's weights say nothing of classes and config.
    save_file({"w": np.zeros(1, np.float32)}, path)
    with pytest.raises(RunFolderError, match="is not a model file of this version"):
        ModelFile.load(path)


def test_a_config_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    facts = {"config": "unheard-of = 1", "classes": "[]", "run": "", "round": "1"}
    save_file({"w": np.zeros(1, np.float32)}, path, {**facts, "synthetic": "false"})
    with pytest.raises(RunFolderError, match="is not a model file of this version"):
        ModelFile.load(path)
