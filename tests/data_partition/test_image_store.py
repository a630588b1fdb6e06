"""The image store: decoded once, rebuilt when a file changes, whole or absent."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_partition import image_store
from data_partition.dataset_ham10000 import load_training
from data_partition.errors import DataError
from data_partition.image_store import DIGESTS, ImageStore, open_store, store_side
from data_partition.image_table import ImageTable
from tests.data_partition import layouts

CLASSES = ("bcc", "mel", "nv")
NAMES = ["a", "b", "c", "d", "e"]

# Builds the store of folder argv[1] in the cache argv[2], argv[3] seconds per image.
BUILD = """
import sys, time
from pathlib import Path
from tests.data_partition.test_image_store import table_of
from data_partition.image_store import open_store

def progress(done, total):
    print(done, flush=True)
    time.sleep(float(sys.argv[3]))

open_store(table_of(Path(sys.argv[1])), side=8, cache_dir=Path(sys.argv[2]), progress=progress)
"""


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")


def table_of(folder: Path, archive: str = "") -> ImageTable:
    rows = pd.DataFrame(
        {
            "image_id": NAMES,
            "path": [str(folder / (archive or f"{name}.jpg")) for name in NAMES],
            "member": [f"{name}.jpg" if archive else "" for name in NAMES],
            "label": ["nv", "mel", "nv", "bcc", "nv"],
            "lesion_id": ["L1", None, "NA", "L1", None],
            "source": None,
        }
    )
    return ImageTable(rows, CLASSES, "test", {"duplicate file": ("z",)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "data")
    return tmp_path / "data"


class Opened:
    """Opens stores in one cache and remembers how many images each opening decoded."""

    def __init__(self, cache: Path):
        self.cache = cache

    def __call__(self, table: ImageTable, side: int = 8) -> ImageStore:
        calls: list[tuple[int, int]] = []
        store = open_store(
            table, side=side, cache_dir=self.cache, progress=lambda *call: calls.append(call)
        )
        self.decoded = len(calls)
        assert calls == [(done, len(NAMES)) for done in range(1, self.decoded + 1)]
        return store


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path / "cache")


def leftovers(cache: Path) -> list[Path]:
    return list((cache / "images").glob(".*.tmp"))


def stores(cache: Path) -> list[Path]:
    return [path for path in (cache / "images").iterdir() if path.name[0] != "."]


def test_a_line_end_within_a_cell_shifts_no_row(tmp_path: Path) -> None:
    """A lesion's id in quotes, in which another program wrote a carriage return."""
    data = tmp_path / "data"
    layouts.write(
        data / "HAM10000_metadata.csv", 'lesion_id,image_id,dx\n"a\rb",ISIC_1,nv\nc,ISIC_2,mel\n'
    )
    layouts.write_images(data, ["ISIC_1", "ISIC_2"])
    table = load_training(data)
    open_store(table, side=32, cache_dir=tmp_path / "cache")
    store = open_store(table, side=32, cache_dir=tmp_path / "cache")
    assert store.rows["lesion_id"].tolist() == ["a\nb", "c"]
    assert store.rows["image_id"].tolist() == ["ISIC_1", "ISIC_2"]


def test_store_side_keeps_the_ratio_of_256_to_224():
    assert store_side(224) == 256
    assert store_side(64) == 73  # 64 * 256 / 224 = 73.14


def test_store_holds_the_resized_images_and_their_rows(folder: Path, opened: Opened):
    store = opened(table_of(folder), side=20)
    assert isinstance(store.images, np.memmap)
    assert store.images.shape == (5, 20, 20, 3)
    for name, pixels in zip(NAMES, store.images, strict=True):
        # 40x30 is less than twice 20x20 both ways, so no JPEG is reduced while decoding.
        with Image.open(folder / f"{name}.jpg") as image:
            expected = image.resize((20, 20), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels, np.asarray(expected))
    assert store.rows["image_id"].tolist() == NAMES
    # A lesion called "NA" is a name; a missing one stays missing.
    assert store.rows["lesion_id"].tolist() == ["L1", None, "NA", "L1", None]
    assert store.rows["source"].tolist() == [None] * 5
    assert store.labels.tolist() == [2, 1, 2, 0, 2]
    assert store.labels.dtype == np.int64
    assert store.set_aside == {"duplicate file": ("z",)}
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0


def test_a_built_store_is_opened_without_decoding(folder: Path, opened: Opened):
    first = opened(table_of(folder))
    assert opened.decoded == 5
    again = opened(table_of(folder))
    assert opened.decoded == 0
    assert again.fingerprint == first.fingerprint
    pd.testing.assert_frame_equal(again.rows, first.rows)
    assert np.array_equal(again.images, first.images)


def test_a_changed_or_touched_file_a_label_or_a_size_means_a_new_store(
    folder: Path, opened: Opened
):
    table = table_of(folder)
    first = opened(table)
    os.utime(folder / "c.jpg", (0, 0))
    touched = opened(table)
    assert opened.decoded == 5
    assert touched.fingerprint == first.fingerprint
    Image.new("RGB", (40, 30)).save(folder / "c.jpg")
    changed = opened(table)
    assert opened.decoded == 5
    assert changed.fingerprint != first.fingerprint
    assert not changed.images[2].any()
    relabelled = opened(replace(table, rows=table.rows.assign(label="nv")))
    assert opened.decoded == 5
    assert relabelled.fingerprint != changed.fingerprint


def test_a_file_replaced_with_its_size_and_times_kept_means_a_new_store(
    folder: Path, opened: Opened
):
    """In place, and by renaming; as `cp -p`, `rsync -t` and `touch -r` leave them."""
    path, table = folder / "c.jpg", table_of(folder)
    path.write_bytes(path.read_bytes() + b"0")
    opened(table)
    for rename, byte in ((False, b"1"), (True, b"2")):
        before, data = path.stat(), path.read_bytes()
        target = folder / "new.jpg" if rename else path
        target.write_bytes(data[:-1] + byte)
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
        target.rename(path)
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        changed = opened(table)
        assert opened.decoded == 5
        files = changed.rows["files_sha256"]
        assert files[2] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_copies_are_known_by_their_digests(folder: Path, opened: Opened):
    """b is a's file, d is a's picture in another file; c and e are white."""
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "d.jpg").write_bytes((folder / "a.jpg").read_bytes() + b"appended")
    for name in "ce":
        Image.new("RGB", (40, 30), "white").save(folder / f"{name}.jpg")
    for _ in range(2):  # as built, and as opened again
        files, pixels = (opened(table_of(folder)).rows[name].tolist() for name in DIGESTS)
        assert files[0] == files[1] != files[3]
        assert pixels[0] == pixels[1] == pixels[3]
        assert files[2] == files[4]
        assert (pixels[2], pixels[4]) == (None, None)


def test_fingerprint_ignores_folder_layout_time_and_side(folder: Path, opened: Opened):
    first = opened(table_of(folder))
    write_images(folder.parent / "elsewhere")
    os.utime(folder.parent / "elsewhere" / "a.jpg", (0, 0))
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / f"{name}.jpg", f"{name}.jpg")
    for table, side in [
        (table_of(folder.parent / "elsewhere"), 8),
        (table_of(folder, archive="all.zip"), 8),
        (table_of(folder), 9),
    ]:
        assert opened(table, side).fingerprint == first.fingerprint
        assert opened.decoded == 5


def test_unreadable_images_are_set_aside_by_name(folder: Path, opened: Opened):
    (folder / "b.jpg").write_bytes(b"")
    (folder / "d.jpg").write_bytes((folder / "d.jpg").read_bytes()[:400])
    for _ in range(2):  # as built, and as opened again
        store = opened(table_of(folder))
        assert store.set_aside == {"duplicate file": ("z",), "unreadable image": ("b", "d")}
        assert store.rows["image_id"].tolist() == ["a", "c", "e"]
        assert store.labels.tolist() == [2, 2, 2]
        assert store.images.shape == (3, 8, 8, 3)
        with Image.open(folder / "e.jpg") as image:
            image.draft(None, (16, 16))
            expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
        assert np.array_equal(store.images[2], expected)


def test_nothing_readable_or_a_file_gone_is_an_error(folder: Path, opened: Opened):
    for name in NAMES:
        (folder / f"{name}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 5 images"):
        opened(table_of(folder))
    assert stores(opened.cache) == leftovers(opened.cache) == []
    (folder / "d.jpg").unlink()
    with pytest.raises(DataError, match=r"d\.jpg: cannot be read"):
        opened(table_of(folder))


def test_a_cache_that_cannot_be_written_is_one_clear_line(
    folder: Path, opened: Opened, tmp_path: Path, monkeypatch
):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.*cannot be written.*cache-dir"):
        open_store(table_of(folder), side=8, cache_dir=tmp_path / "file")
    usage = image_store.shutil.disk_usage(tmp_path)
    # Five images of 8 * 8 * 3 bytes need 960.
    with monkeypatch.context() as patch:
        patch.setattr(image_store.shutil, "disk_usage", lambda _: usage._replace(free=959))
        with pytest.raises(DataError, match="free disk space"):
            opened(table_of(folder))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # The disk fills up while building.
    monkeypatch.setattr(image_store, "decode_usable", full)
    with pytest.raises(DataError, match="No space left on device"):
        opened(table_of(folder))
    assert stores(opened.cache) == leftovers(opened.cache) == []


def start_build(folder: Path, cache: Path, seconds_per_image: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", BUILD, str(folder), str(cache), str(seconds_per_image)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=root)


def test_a_killed_build_leaves_no_store_and_the_next_one_cleans_up(folder: Path, opened: Opened):
    build = start_build(folder, opened.cache, seconds_per_image=60)
    assert build.stdout is not None
    assert build.stdout.readline() == "1\n"  # it is in the middle of building
    build.send_signal(signal.SIGKILL)
    build.communicate()
    assert stores(opened.cache) == []
    assert len(leftovers(opened.cache)) == 1
    assert len(opened(table_of(folder)).images) == 5
    assert opened.decoded == 5
    assert leftovers(opened.cache) == []


def test_of_two_processes_one_builds_and_the_other_waits(folder: Path, opened: Opened):
    build = start_build(folder, opened.cache, seconds_per_image=0.2)
    assert build.stdout is not None
    assert build.stdout.readline() == "1\n"
    begun = time.monotonic()
    assert len(opened(table_of(folder)).images) == 5
    assert opened.decoded == 0
    # Four more images at 0.2 s each were still to come, less what starting up here took.
    assert time.monotonic() - begun > 0.4
    assert build.communicate()[0].split() == ["2", "3", "4", "5"]
    assert build.returncode == 0
    assert len(stores(opened.cache)) == 1
