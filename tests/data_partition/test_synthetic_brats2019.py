"""The synthetic volumes: their layout, both grades, and the same bytes for the same seed."""

import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_partition.dataset_brats2019 import load_brats2019
from data_partition.errors import DataError
from data_partition.synthetic_brats2019 import SITES, draw_volumes, write_brats2019
from data_partition.synthetic_folder import is_synthetic
from data_partition.synthetic_ham10000 import write_ham10000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("synthetic") / "data"
    write_brats2019(directory, patients=12, seed=3)
    return directory


def hashes(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_the_layout_is_read_whole(written: Path) -> None:
    table = load_brats2019(written)
    patients = table.rows.drop_duplicates("lesion_id")
    # 12 · 76/335 = 2.7, raised to five.
    assert patients["label"].value_counts().to_dict() == {"HGG": 7, "LGG": 5}
    assert patients["source"].value_counts().to_dict() == dict.fromkeys(SITES, 3)
    assert table.set_aside == {}


def test_grades_are_in_the_proportion_of_the_real_release(tmp_path: Path) -> None:
    """40 · 76/335 = 9.07."""
    write_brats2019(tmp_path / "data")
    [release] = [path for path in (tmp_path / "data").iterdir() if path.is_dir()]
    assert len(list((release / "HGG").iterdir())) == 31
    assert len(list((release / "LGG").iterdir())) == 9


def test_volumes_are_as_in_the_real_release(written: Path) -> None:
    [case, *_] = sorted(written.glob("*/HGG/*"))
    volumes = {}
    for kind in ("flair", "t1", "t1ce", "t2", "seg"):
        image = nibabel.load(case / f"{case.name}_{kind}.nii.gz")
        assert (image.shape, image.get_data_dtype()) == ((48, 48, 24), np.int16)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        volumes[kind] = np.asarray(image.dataobj)
    assert set(np.unique(volumes.pop("seg"))) == {0, 1, 2, 4}
    brain = volumes["t1"] > 0
    assert 0.2 < brain.mean() < 0.5
    assert all(((volume > 0) == brain).all() for volume in volumes.values())


def test_only_high_grade_tumours_take_up_contrast_agent() -> None:
    for seed in range(20):
        high = draw_volumes("HGG", np.random.default_rng(seed))
        low = draw_volumes("LGG", np.random.default_rng(seed))
        assert set(np.unique(low["seg"])) == {0, 1, 2}
        healthy = np.median(high["t1ce"][(high["t1ce"] > 0) & (high["seg"] == 0)])
        assert np.median(high["t1ce"][high["seg"] == 4]) > 1.5 * healthy
        assert np.median(low["t1ce"][low["seg"] > 0]) < healthy


def test_same_seed_same_bytes(written: Path, tmp_path: Path) -> None:
    write_brats2019(tmp_path / "again", patients=12, seed=3)
    assert hashes(tmp_path / "again") == hashes(written)
    write_brats2019(tmp_path / "other", patients=12, seed=4)
    assert not set(hashes(tmp_path / "other").values()) & set(hashes(written).values()) - {
        hashes(written)["README.txt"]
    }


def test_both_made_up_data_sets_say_that_they_are(written: Path, tmp_path: Path) -> None:
    text = (written / "README.txt").read_text()
    assert text.startswith("SYNTHETIC IMAGES, WORTHLESS FOR MEDICINE\n")
    assert is_synthetic(written)
    write_ham10000(tmp_path / "ham", images=14)
    assert is_synthetic(tmp_path / "ham")
    assert is_synthetic(tmp_path)  # the folder above it is recognised as the data set, too
    assert is_synthetic("/data/real", tmp_path / "ham")


def test_other_folders_are_not_said_to_be_made_up(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    assert not is_synthetic(tmp_path, "")
    (tmp_path / "real" / "README.txt").write_text("Real patients.\n")
    assert not is_synthetic(tmp_path)
    assert not is_synthetic(tmp_path / "real")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        write_brats2019(tmp_path / "full")
    with pytest.raises(DataError, match="9 patients are too few"):
        write_brats2019(tmp_path / "few", patients=9)
    with pytest.raises(DataError, match="seed -1"):
        write_brats2019(tmp_path / "few", seed=-1)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]
