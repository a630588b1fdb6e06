from pathlib import Path

import pytest

from data_partition.errors import DataError
from data_partition.recognition import recognise
from tests.data_partition import layouts
from tests.data_partition.volumes import touch_cases


@pytest.mark.parametrize("layout", [layouts.dataverse, layouts.challenge])
def test_ham10000_by_its_tables(tmp_path: Path, layout) -> None:  # type: ignore[no-untyped-def]
    assert recognise(layout(tmp_path / "a")).name == "ham10000"


def test_by_folders_of_classes(tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "skin" / "train", layouts.LABELS)
    assert recognise(tmp_path / "skin").name == "ham10000"
    for split in ("train", "test"):
        layouts.class_tree(tmp_path / "brain" / split, {"1": "HGG", "2": "LGG"}, ".tif")
    assert recognise(tmp_path / "brain").name == "brats2019"


def test_brats2019_by_its_volumes(tmp_path: Path) -> None:
    assert recognise(touch_cases(tmp_path, {"BraTS19_TMC_1_1": "HGG"})).name == "brats2019"


def test_neither_both_or_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither HAM10000 .* nor BraTS2019"):
        recognise(tmp_path)
    layouts.write_images(tmp_path / "photos", ["a", "b"])
    with pytest.raises(DataError, match=r"neither HAM10000 .* nor BraTS2019"):
        recognise(tmp_path)
    layouts.dataverse(tmp_path)
    touch_cases(tmp_path, {"BraTS19_TMC_1_1": "HGG"})
    with pytest.raises(DataError, match="holds both"):
        recognise(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        recognise(tmp_path / "nowhere")
