"""Slices through the tumour: which ones, how bright, and the treatment of bad volumes."""

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_partition.axial_slices import (
    UnusableCase,
    most_brain,
    scaled_slices,
    slice_positions,
)
from data_partition.dataset import Reading
from data_partition.dataset_brats2019 import load_brats2019
from data_partition.errors import DataError
from data_partition.image_reader import Decoded, Unusable
from data_partition.image_store import open_store
from data_partition.image_table import ImageTable
from tests.data_partition.volumes import draw, nifti, write_case

CASES = ("BraTS19_2013_1_1", "BraTS19_2013_2_1", "BraTS19_TMC_3_1")


def with_areas(*areas: int) -> np.ndarray:
    """A segmentation (4, 4, Z) with so many voxels of tumour in each slice."""
    columns = [np.arange(16) < area for area in areas]
    return np.stack(columns, axis=-1).reshape(4, 4, -1) * 4


@pytest.mark.parametrize(
    "areas, num_slices, positions",
    [
        # Eight voxels, cumulated 0 2 4 6 8; a quarter of each half: 2 and 6.
        ((0, 2, 2, 2, 2), 2, [1, 3]),
        # One slice: the first at which half of the tumour, 4, is reached.
        ((0, 2, 2, 2, 2), 1, [2]),
        # At 1/8, 3/8, 5/8, 7/8 of 16: 2, 6, 10, 14 of the cumulated 1 11 13 16.
        ((1, 10, 2, 3), 4, [1, 1, 1, 3]),
        # A gap between two tumours is never shown: cumulated 3 3 3 6, wanted 1.5 and 4.5.
        ((3, 0, 0, 3), 2, [0, 3]),
        # Three slices for eight: each several times.
        ((1, 1, 1), 8, [0, 0, 0, 1, 1, 2, 2, 2]),
    ],
)
def test_slices_are_spread_through_the_tumour(
    areas: tuple[int, ...], num_slices: int, positions: list[int]
) -> None:
    assert slice_positions(with_areas(*areas), num_slices).tolist() == positions


def test_without_a_tumour_there_is_no_slice() -> None:
    with pytest.raises(UnusableCase, match="empty segmentation"):
        slice_positions(with_areas(0, 0), 8)


@pytest.mark.parametrize(
    "areas, others, num_slices, positions",
    [
        # The two largest, in the order in which they lie.
        ((1, 3, 9, 5), (0, 0, 0, 0), 2, [2, 3]),
        # All modalities count: 1 + 9, 3 + 0, 4 + 0.
        ((1, 3, 4), (9, 0, 0), 2, [0, 2]),
        # Of equals the lower.
        ((2, 2, 2), (2, 2, 2), 2, [0, 1]),
        # Never one without brain, however many are asked for.
        ((0, 1, 0, 2), (0, 0, 0, 0), 8, [1, 3]),
        ((0, 1, 0, 2), (1, 0, 0, 0), None, [0, 1, 3]),
    ],
)
def test_slices_with_most_brain(
    areas: tuple[int, ...], others: tuple[int, ...], num_slices: int | None, positions: list[int]
) -> None:
    assert most_brain([with_areas(*areas), with_areas(*others)], num_slices) == positions


def test_without_brain_there_is_no_slice() -> None:
    with pytest.raises(UnusableCase, match="without contrast"):
        most_brain([np.zeros((2, 2, 3))], None)


def test_scaling_runs_from_percentile_to_percentile_of_the_brain() -> None:
    """Brain voxels 1 … 1001: the 0.5th percentile is 1 + 1000 · 0.005 = 6, the 99.5th 996."""
    volume = np.zeros((7, 13, 11), dtype=np.int16)
    volume.reshape(-1)[:] = np.arange(1001) + 1
    background = np.zeros((7, 13, 4), dtype=np.int16)  # however much of it
    volume = np.concatenate([volume, background], axis=2)
    [first, last] = scaled_slices(volume, np.array([0, 14]))
    assert first.shape == (13, 7)
    expected = np.rint(np.clip((volume[:, :, 0].T.astype(float) - 6) * 255 / 990, 0, 255))
    assert (first == expected).all()
    # The darkest voxel, of 1, is black, and the last of this slice, 991, nearly white.
    assert (first.min(), first.max()) == (0, round((991 - 6) * 255 / 990))
    assert not last.any()


def test_values_below_zero_are_background() -> None:
    volume = np.array([[[-500.0], [10.0]], [[20.0], [30.0]]])
    [levels] = scaled_slices(volume, np.array([0]))
    # Brain 10, 20, 30: percentiles 10.1 and 29.9, 20 in the middle: 127.5 rounds to even.
    assert levels.tolist() == [[0, 128], [0, 255]]


@pytest.mark.parametrize("value", [0, 70])
def test_a_volume_of_one_grey_level_is_refused(value: int) -> None:
    with pytest.raises(UnusableCase, match="without contrast"):
        scaled_slices(np.full((3, 3, 3), value), np.array([1]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cases of eight slices of tumour each."""
    for case in CASES:
        write_case(tmp_path / "brats" / "HGG", case)
    return tmp_path / "brats"


def decode(table: ImageTable, side: int = 10) -> list[Decoded | Unusable]:
    return list(table.reader.decode(table.rows, side))


def replace_volume(folder: Path, case: str, kind: str, content: bytes) -> None:
    (folder / "HGG" / case / f"{case}_{kind}.nii.gz").write_bytes(gzip.compress(content))


def test_the_pixels_of_a_slice(tmp_path: Path) -> None:
    """Volumes of 10 × 10 are stored as they are: slice 2 of 2 lies at 3/4 of the tumour, z = 9."""
    case = CASES[0]
    write_case(tmp_path / "HGG", case)
    volumes = {kind: voxels[:10] for kind, voxels in draw(case).items()}
    for kind, voxels in volumes.items():
        replace_volume(tmp_path, case, kind, nifti(voxels))
    table = load_brats2019(
        tmp_path, Reading(modalities=("flair", "t1", "t2"), slices_per_patient=2)
    )
    [_, second] = decode(table)
    assert isinstance(second, Decoded)
    pixels = np.frombuffer(second.pixels, dtype=np.uint8).reshape(10, 10, 3)
    for channel, kind in enumerate(("flair", "t1", "t2")):
        assert (pixels[..., channel] == scaled_slices(volumes[kind], np.array([9]))[0]).all()


def test_all_slices_go_through_the_store(folder: Path, tmp_path: Path) -> None:
    table = load_brats2019(folder)
    calls: list[tuple[int, int]] = []
    store = open_store(table, side=9, cache_dir=tmp_path, progress=lambda *call: calls.append(call))
    assert store.images.shape == (24, 9, 9, 3)
    assert store.grouped_by == "patient"
    assert store.set_aside == {}
    assert calls == [(done, 24) for done in range(1, 25)]
    assert store.rows["image_id"].tolist() == [f"{case}-{k}" for case in CASES for k in range(1, 9)]
    again = open_store(table, side=9, cache_dir=tmp_path, progress=lambda *call: calls.append(call))
    assert len(calls) == 24
    assert again.fingerprint == store.fingerprint


def test_what_makes_another_store_and_what_other_data(folder: Path, tmp_path: Path) -> None:
    def opened(**settings: object) -> tuple[str, str]:
        table = load_brats2019(folder, Reading(**settings))  # type: ignore[arg-type]
        store = open_store(table, side=8, cache_dir=tmp_path)
        return Path(str(store.images.filename)).parent.name, store.fingerprint

    first = opened()
    channels = opened(modalities=("t2", "t1ce", "flair"))
    fewer = opened(slices_per_patient=4)
    assert len({first, channels, fewer}) == 3
    assert len({key for key, _ in (first, channels, fewer)}) == 3
    assert len({fingerprint for _, fingerprint in (first, channels, fewer)}) == 3
    # Unzipped, the data are the same; the files are others.
    for path in folder.rglob("*.nii.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    unzipped = opened()
    assert unzipped[0] != first[0]
    assert unzipped[1] == first[1]
    # A segmentation is no channel, but decides which slices are cut.
    case = CASES[0]
    (folder / "HGG" / case / f"{case}_seg.nii").write_bytes(nifti(draw(case)["seg"] > 1))
    assert opened()[0] != unzipped[0]


@pytest.mark.parametrize(
    "kind, content, reason",
    [
        ("seg", nifti(np.zeros((12, 10, 16))), "empty segmentation"),
        ("seg", nifti(np.ones((12, 10, 15))), "another shape than its segmentation"),
        ("t2", nifti(np.ones((12, 10, 15))), "another shape than its segmentation"),
        ("t2", nifti(np.zeros((12, 10, 16))), "volume without contrast"),
        ("t2", b"damaged", "unreadable t2"),
        ("seg", nifti(np.ones((12, 10))), "unreadable segmentation"),
    ],
)
def test_bad_volumes_set_their_case_aside_by_name(
    folder: Path, tmp_path: Path, kind: str, content: bytes, reason: str
) -> None:
    replace_volume(folder, CASES[1], kind, content)
    store = open_store(load_brats2019(folder), side=8, cache_dir=tmp_path)
    assert store.set_aside == {reason: (CASES[1],)}
    assert set(store.rows["lesion_id"]) == {CASES[0], CASES[2]}
    assert len(store.images) == 16


def test_a_modality_that_is_not_asked_for_may_be_damaged(folder: Path) -> None:
    replace_volume(folder, CASES[1], "t1", b"damaged")
    assert all(isinstance(image, Decoded) for image in decode(load_brats2019(folder)))


def test_slices_repeated_in_a_thin_tumour_are_set_aside(folder: Path, tmp_path: Path) -> None:
    """Eight slices of tumour for sixteen: every second one is a repetition."""
    table = load_brats2019(folder, Reading(slices_per_patient=16))
    store = open_store(table, side=8, cache_dir=tmp_path)
    assert len(store.images) == 24
    [(reason, names)] = store.set_aside.items()
    assert reason == "slice repeated in a thin tumour"
    assert names == tuple(f"{case}-{k:02d}" for case in CASES for k in range(2, 17, 2))


def test_slices_without_brain_are_set_aside(folder: Path, tmp_path: Path) -> None:
    """Brain in the slices 2 … 15 of 16, most of it in 5 to 7."""
    volume = np.zeros((12, 10, 16))
    volume[1:11, 1:9, 1:15] = np.arange(100, 180).reshape(10, 8, 1)
    volume[:, :, 4:7] += 1
    for kind in ("t1ce", "t2", "flair"):
        replace_volume(folder, CASES[1], kind, nifti(volume))
    every = open_store(
        load_brats2019(folder, Reading(slice_choice="all")), side=8, cache_dir=tmp_path
    )
    assert every.set_aside == {"slice without brain": (f"{CASES[1]}-01", f"{CASES[1]}-16")}
    assert len(every.images) == 3 * 16 - 2
    brain = load_brats2019(folder, Reading(slice_choice="brain", slices_per_patient=3))
    kept = open_store(brain, side=8, cache_dir=tmp_path)
    chosen = [kept.images[kept.rows["image_id"] == f"{CASES[1]}-{k}"][0] for k in (1, 2, 3)]
    numbers = [f"{CASES[1]}-{k:02d}" for k in (5, 6, 7)]
    expected = [every.images[every.rows["image_id"] == number][0] for number in numbers]
    assert (np.array(chosen) == np.array(expected)).all()
    few = load_brats2019(folder, Reading(slice_choice="brain", slices_per_patient=15))
    assert open_store(few, side=8, cache_dir=tmp_path).set_aside == {
        "slice beyond those that show brain": (f"{CASES[1]}-15",)
    }


def test_a_volume_without_a_header_sets_its_case_aside(folder: Path, tmp_path: Path) -> None:
    replace_volume(folder, CASES[1], "t1ce", b"damaged")
    table = load_brats2019(folder, Reading(slice_choice="all"))
    assert len(table.rows) == 2 * 16 + 1
    store = open_store(table, side=8, cache_dir=tmp_path)
    assert store.set_aside == {"unreadable t1ce": (CASES[1],)}


def test_modalities_of_different_shapes(folder: Path, tmp_path: Path) -> None:
    replace_volume(folder, CASES[1], "t2", nifti(np.ones((12, 10, 15))))
    store = open_store(
        load_brats2019(folder, Reading(slice_choice="brain")), side=8, cache_dir=tmp_path
    )
    assert store.set_aside == {"modalities of different shapes": (CASES[1],)}


def test_nothing_usable_is_an_error_that_names_a_case(folder: Path, tmp_path: Path) -> None:
    for case in CASES:
        replace_volume(folder, case, "flair", b"")
    with pytest.raises(DataError, match=rf"none of the 24 images .*unreadable flair: {CASES[0]}"):
        open_store(load_brats2019(folder), side=8, cache_dir=tmp_path)


def test_a_file_the_system_refuses_is_no_damage(folder: Path) -> None:
    table = load_brats2019(folder)
    (folder / "HGG" / CASES[2] / f"{CASES[2]}_t1ce.nii.gz").unlink()
    with pytest.raises(DataError, match=rf"{CASES[2]}_t1ce\.nii\.gz: cannot be read"):
        decode(table)


def test_every_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = nibabel.Nifti1Image.from_bytes

    def counted(content: bytes) -> nibabel.Nifti1Image:
        read.append("volume")
        return real(content)

    monkeypatch.setattr(nibabel.Nifti1Image, "from_bytes", counted)
    decode(load_brats2019(folder))
    assert len(read) == 3 * 4  # cases, by three modalities and a segmentation


def test_rows_in_any_order_and_some_only(folder: Path) -> None:
    table = load_brats2019(folder)
    rows = table.rows.iloc[[20, 3, 21]]
    expected = decode(table)
    assert decode(replace(table, rows=rows)) == [expected[20], expected[3], expected[21]]
