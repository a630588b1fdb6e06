"""Images of files and archives: RGB, whatever their colours; a damaged one is named."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_partition.decode import ImageFiles, image_name, rgb_image
from data_partition.errors import DataError

RED = (200, 30, 10)


def decode_rgb(path: str, member: str = "") -> np.ndarray:
    with ImageFiles() as files:
        return np.array(rgb_image(files.read(path, member), image_name(path, member)))


def jpeg(width: int = 40, height: int = 30) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "mode, value, expected",
    [
        ("RGB", RED, RED),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (77, 5), (77, 77, 77)),
        # Alpha is dropped: the colour stays, however transparent it is.
        ("RGBA", (*RED, 0), RED),
        # The upper byte of 16 bits: 0x4D12 >> 8 = 0x4D = 77.
        ("I;16", 0x4D12, (77, 77, 77)),
    ],
)
def test_every_png_mode_becomes_rgb(tmp_path: Path, mode, value, expected):
    path = tmp_path / "a.png"
    Image.new(mode, (3, 2), value).save(path)
    pixels = decode_rgb(str(path))
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == expected).all()


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency_becomes_rgb_without_a_warning(tmp_path: Path):
    path = tmp_path / "a.png"
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, *RED])
    image.save(path, transparency=bytes([255, 128]))
    assert (decode_rgb(str(path)) == RED).all()


def test_cmyk_becomes_rgb(tmp_path: Path):
    path = tmp_path / "a.tif"
    # No ink but full magenta: all red and blue, no green.
    Image.new("CMYK", (3, 2), (0, 255, 0, 0)).save(path)
    assert (decode_rgb(str(path)) == (255, 0, 255)).all()


def test_exif_orientation_is_left_unapplied(tmp_path: Path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    assert decode_rgb(str(path)).shape == (30, 40, 3)


def test_a_head_is_not_read_by_a_method_that_may_unpack_to_gigabytes(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.csv", bytes(9_000_000))
    with ImageFiles() as files, pytest.raises(DataError, match="not packed by deflate"):
        files.read_head(str(tmp_path / "a.zip"), "a.csv", 9)


def test_zip_member_equals_the_file(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("part/a.jpg", jpeg())
    from_zip = decode_rgb(str(tmp_path / "a.zip"), "part/a.jpg")
    assert np.array_equal(from_zip, decode_rgb(str(tmp_path / "a.jpg")))


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", jpeg()[:-200], jpeg()[:30], b"\x89PNG\r\n\x1a\n" + b"\0" * 50],
    ids=["zero-byte", "text", "truncated", "header only", "broken png"],
)
def test_damage_is_an_error_that_names_the_file(tmp_path: Path, content: bytes):
    path = tmp_path / "ISIC_0000001.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ISIC_0000001\.jpg") as caught:
        decode_rgb(str(path))
    assert "\n" not in str(caught.value)


def test_missing_member_and_damaged_member_are_named(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", jpeg())
    with pytest.raises(DataError, match=r"a\.zip:b\.jpg: not in the archive"):
        decode_rgb(str(path), "b.jpg")
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF  # inside the stored image: its checksum no longer holds
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip:a\.jpg: cannot be unpacked"):
        decode_rgb(str(path), "a.jpg")


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr("data_partition.decode.MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="40x30 pixels"):
        rgb_image(jpeg(), "big.jpg")


def test_reduced_decoding_keeps_at_least_the_asked_size():
    # 400x300 reduced by 4 is 100x75; by 8 it would be 50x38, less than 60.
    assert rgb_image(jpeg(400, 300), "a", reduce_to=60).size == (100, 75)
    assert rgb_image(jpeg(400, 300), "a").size == (400, 300)


def test_an_archive_is_opened_once(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"a")
        archive.writestr("b.jpg", b"b")
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or real(path))
    with ImageFiles() as files:
        assert files.read(str(path), "a.jpg") + files.read(str(path), "b.jpg") == b"ab"
    assert opened == [str(path)]


def test_an_image_that_is_larger_than_its_archive_says(tmp_path: Path):
    """The size is not believed: what unpacks to more is no image, and no memory is taken for it."""
    content = bytes(50_000_000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", content)
    said = path.read_bytes().replace(struct.pack("<I", len(content)), struct.pack("<I", 10))
    path.write_bytes(said)
    tracemalloc.start()
    with (
        ImageFiles() as files,
        pytest.raises(DataError, match="not have the size that the archive"),
    ):
        files.read(str(path), "a.jpg")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
