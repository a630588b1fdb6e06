"""Pictures of heat maps, and ``fedskin predict --explain``, which writes them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_partition.errors import DataError
from experiments import trained_model
from experiments.heat_pictures import LARGEST_SIDE, file_names, heat_picture
from experiments.prediction import predict_command
from models.backbones import build_backbone
from operation.errors import OperationError
from tests.data_partition.volumes import KINDS, write_case
from tests.experiments.exporting.exported_runs import finished_run
from tests.support import BACKBONE, make_config, state_of
from training.errors import TrainingError
from training.model_file import ModelFile

GREY = Image.new("RGB", (400, 300), (128, 128, 128))


def test_names_are_plain_and_none_is_given_twice() -> None:
    taken: set[str] = set()
    images = ["/a/mole 1.jpg", "/b/mole/1.png", "C:\\x", "../../etc/passwd", "Ünïcode?.jpg", "…"]
    first = file_names([*images, "MOLE_1.jpg", "x" * 300], taken)
    assert first[:3] == ["mole_1.png", "1.png", "C_x.png"]
    assert first[3:6] == ["passwd.png", "n_code.png", "image.png"]
    assert first[6] == "MOLE_1-2.png"  # some file systems take it for mole_1.png
    assert len(first[7]) < 128
    assert file_names(["/c/mole 1.jpg"], taken) == ["mole_1-3.png"]


def test_colour_is_where_the_map_is_and_where_the_network_saw_the_image() -> None:
    """At 32 pixels images are stored at 37, so of 300 rows the middle 300 * 32 / 37 are seen."""
    heat = np.zeros((8, 8))
    heat[:, 6:] = 1
    whole = np.asarray(heat_picture(GREY, heat, make_config(image_size=32))).astype(int)
    assert whole.shape == (300, 400, 3)
    colour = np.abs(whole - 128).max(axis=2)
    assert colour[:, 350:].min() > 2 * colour[:, :250].max() > 0
    square = heat_picture(GREY, heat, make_config(image_size=32, input="square"))
    coloured = (np.asarray(square) != 128).any(axis=2)
    side = round(300 * 32 / 37)
    assert coloured.any(axis=1).sum() == coloured.any(axis=0).sum() == side
    assert not coloured[:, : (400 - side) // 2].any()


@pytest.mark.parametrize("size, expected", [((64, 48), (320, 240)), ((640, 1), (640, 1))])
def test_a_small_image_is_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = heat_picture(Image.new("RGB", size), np.zeros((7, 7)), make_config())
    assert picture.size == expected


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "run").path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clinic"
    for name in ("a mole.png", "more/a mole.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(name))
        Image.fromarray(rng.integers(0, 256, (900, 1200, 3), dtype=np.uint8)).save(folder / name)
    return folder


def test_each_image_has_its_picture(run: Path, folder: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    predict_command(run, [folder], out=tmp_path / "answers.csv", explain=maps)
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert sorted(path.name for path in maps.iterdir()) == sorted(answers["heat map"])
    assert set(answers["heat map"]) == {"a_mole.png", "a_mole-2.png"}
    for name in answers["heat map"]:
        with Image.open(maps / name) as picture:
            assert picture.size == (LARGEST_SIDE, LARGEST_SIDE * 3 // 4)
    plain = tmp_path / "plain.csv"
    predict_command(run, [folder], out=plain)
    pd.testing.assert_frame_equal(pd.read_csv(plain), answers.drop(columns="heat map"))


def test_slices_have_pictures_and_patients_have_none(tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "BraTS19_TMC_1_1", KINDS[:-1])
    config = make_config(slice_choice="brain", slices_per_patient=2).replace(dataset="brats2019")
    state = state_of(build_backbone(BACKBONE, 2, pretrained=False, image_size=32, seed=0))
    file, out = tmp_path / "final.safetensors", tmp_path / "answers.json"
    ModelFile(config, ("HGG", "LGG"), state, None, "0" * 32, 1, False).save(file)
    predict_command(file, [tmp_path / "cases"], out=out, explain=tmp_path / "maps")
    entries = json.loads(out.read_text())["images"]
    assert ["heat_map" in entry for entry in entries] == [True, True, False]


def test_no_file_is_replaced_and_nothing_is_left_after_an_error(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OperationError, match=r"clinic: is there already; choose another folder"):
        predict_command(run, [folder], explain=folder)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    before = set(tmp_path.iterdir())
    with pytest.raises(DataError):
        predict_command(run, [folder], explain=tmp_path / "maps")
    assert set(tmp_path.iterdir()) == before


def test_what_cannot_be_explained_is_said(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained_model, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="the extra 'explain' is not installed"):
        predict_command(run, [folder], explain=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
    shutil.rmtree(folder / "more")
    predict_command(run, [folder])  # which needs no captum
