"""A site's cache within its bound: what was unused longest is removed, what is in use never."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_partition.image_store import open_store, store_side
from fl_client.site.cache import make_room
from strategies.refusal import Refused
from training.config import parse
from training.release import training_table

NUMBER = 10


def bytes_of(image_size: int) -> int:
    """Ten images of three bytes a pixel."""
    return NUMBER * store_side(image_size) ** 2 * 3


def image_store(cache: Path, name: str, image_size: int, used: int) -> Path:
    side = store_side(image_size)
    folder = cache / "images" / name
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.zeros((NUMBER, side, side, 3), np.uint8))
    os.utime(folder, (used, used))
    return folder


def features(cache: Path, name: str, size: int, used: int) -> Path:
    path = cache / "features" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Path]:
    """The oldest first; the features are as large as the images of 32 pixels."""
    return {
        "32": image_store(tmp_path, "a", 32, used=1),
        "features": features(tmp_path, "b.safetensors", bytes_of(32), used=2),
        "64": image_store(tmp_path, "c", 64, used=3),
    }


def left(kept: dict[str, Path]) -> set[str]:
    return {name for name, path in kept.items() if path.exists()}


# An image store has a header beside its pixels.
ALL = bytes_of(32) * 2 + bytes_of(64) + 1000


@pytest.mark.parametrize(
    "image_size, most, expected",
    [
        (32, ALL, {"32", "features", "64"}),
        (64, ALL, {"32", "features", "64"}),
        # One too many: the oldest goes, unless it is in use.
        (64, ALL - 2000, {"features", "64"}),
        (32, ALL - 2000, {"32", "64"}),
        (32, bytes_of(32) + 1000, {"32"}),
        # Images of another size are still to come.
        (48, bytes_of(48) + bytes_of(64) + 500, {"64"}),
        (48, bytes_of(48), set()),
    ],
)
def test_the_least_recently_used_go(
    kept: dict[str, Path], tmp_path: Path, image_size: int, most: int, expected: set[str]
) -> None:
    make_room(tmp_path, image_size, most)
    assert left(kept) == expected


@pytest.mark.parametrize("image_size", [32, 48, 512])
def test_a_run_whose_images_alone_need_more_is_refused(
    kept: dict[str, Path], tmp_path: Path, image_size: int
) -> None:
    most = bytes_of(image_size) - 1
    with pytest.raises(Refused, match=f"image-size = {image_size}: .* max-cache-bytes = {most}"):
        make_room(tmp_path, image_size, most)
    assert left(kept) == {"32", "features", "64"}


def test_a_cache_that_is_not_there_has_room(tmp_path: Path) -> None:
    make_room(tmp_path / "cache", 512, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_files_that_changed_since_is_not_in_use(tmp_path: Path) -> None:
    old = image_store(tmp_path, "old", 32, used=1)
    new = image_store(tmp_path, "new", 32, used=2)
    make_room(tmp_path, 32, bytes_of(32) + 1000)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_a_damaged_store_goes_like_any_other(tmp_path: Path, content: bytes) -> None:
    damaged = image_store(tmp_path, "a", 32, used=1)
    (damaged / "images.npy").write_bytes(content)
    (damaged / "ids.json").write_bytes(bytes(9))
    make_room(tmp_path, 32, 4)
    assert not damaged.exists()


def test_a_real_store_is_seen(tmp_path: Path, synthetic_ham: Path) -> None:
    """Its folder is where the cache is looked for, and its side is the one of its run."""
    config = parse({"data-dir": str(synthetic_ham)})
    store = open_store(training_table(config), side=store_side(32), cache_dir=tmp_path)
    needed = sum(path.stat().st_size for path in Path(store.images.filename).parent.iterdir())
    make_room(tmp_path, 32, needed)
    with pytest.raises(Refused):
        make_room(tmp_path, 32, needed - 1)
    make_room(tmp_path, 16, needed - 1)
    assert not Path(store.images.filename).exists()
