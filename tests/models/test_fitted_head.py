"""A head in a file: as it was before, and nothing else is loaded."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn
import skops.io
from sklearn.linear_model import LogisticRegression

from models.errors import HeadError
from models.fitted_head import Head
from models.head_names import HEADS
from tests.models.clusters import (
    SETTINGS,
    TEST,
    fitted,
)


@pytest.mark.parametrize("scaler", ["standard", "none"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_kept_in_a_file(name: str, scaler: str, tmp_path: Path) -> None:
    head = fitted(name, settings=replace(SETTINGS, scaler=scaler))
    path = tmp_path / "heads" / f"{name}.skops"
    head.save(path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    loaded = Head.load(path)
    assert (loaded.name, loaded.num_classes, loaded.settings) == (name, 4, head.settings)
    np.testing.assert_array_equal(loaded.predict(TEST), head.predict(TEST))
    np.testing.assert_array_equal(loaded.predict_proba(TEST), head.predict_proba(TEST))


def test_a_file_that_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadError, match="cannot be written"):
        fitted("knn").save(tmp_path / "file" / "knn.skops")
    with pytest.raises(HeadError, match=r"none\.skops cannot be read"):
        Head.load(tmp_path / "none.skops")


def unsound(path: Path) -> str:
    with pytest.raises(HeadError) as caught:
        Head.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a valid file of a head (")
    assert "\n" not in message
    return message


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.skops"
    path.write_bytes(b"not a zip archive")
    unsound(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    unsound(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "[]")
    unsound(path)
    skops.io.dump(LogisticRegression(), path)
    assert "not marked as a head" in unsound(path)
    skops.io.dump({"layout": "fedskin head 1", "name": "knn"}, path)
    assert "it has the parts name" in unsound(path)


class Stranger:
    """A class that no head is made of."""


def test_nothing_else_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "head.skops"
    skops.io.dump({"layout": "fedskin head 1", "pipeline": Stranger()}, path)
    assert (
        "Untrusted types found in the file: ['tests.models.test_fitted_head.Stranger']"
        in unsound(path)
    )


@pytest.mark.parametrize("name", HEADS)
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    """Cut short, and a byte turned over in forty places: each is refused or made no difference."""
    head = fitted(name)
    whole = tmp_path / "whole.skops"
    head.save(whole)
    content = whole.read_bytes()
    path = tmp_path / "damaged.skops"
    path.write_bytes(content[: len(content) // 2])
    unsound(path)
    for place in np.random.default_rng(0).integers(0, len(content), 40):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            loaded = Head.load(path)
        except HeadError:
            continue
        np.testing.assert_array_equal(loaded.predict(TEST), head.predict(TEST))


def test_heads_of_another_scikit_learn_are_fitted_anew(tmp_path: Path) -> None:
    path = tmp_path / "old.skops"
    fitted("knn").save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    version = sklearn.__version__.encode()
    assert version in parts["schema.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part.replace(version, b"0.99.0"))
    with pytest.raises(HeadError, match=r"written by scikit-learn 0\.99\.0, and this is .* again"):
        Head.load(path)
