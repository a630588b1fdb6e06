import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import assert_same_bits
from training.errors import RunFolderError
from training.weights import load_weights, save_weights, weights_sha256


def model() -> dict[str, NDArray]:
    """Every dtype that a state dict may hold, among them a 0-d counter and an empty array."""
    rng = np.random.default_rng(0)
    return {
        "float32": rng.normal(size=(3, 4)).astype(np.float32),
        "float16": rng.normal(size=5).astype(np.float16),
        "float64": rng.normal(size=(2, 1, 2)),
        "int64": np.array([-3, 2**62]),
        "bool": np.array([True, False, True]),
        "counter": np.array(17),
        "zeros": np.array([0.0, -0.0], dtype=np.float32),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }


def reference(weights: dict[str, NDArray]) -> str:
    """sha256 over name, dtype, shape and little-endian bytes in C order, by sorted name."""
    joined = b""
    for name in sorted(weights):
        array = weights[name]
        little = array.astype(array.dtype.newbyteorder("<"))
        header = "\0".join([name, array.dtype.name, str(array.shape), ""])
        joined += header.encode() + little.tobytes(order="C")
    return hashlib.sha256(joined).hexdigest()


def test_identity_is_the_sha256_that_it_says() -> None:
    assert weights_sha256(model()) == reference(model())


def test_identity_of_a_known_model() -> None:
    """Name, dtype and shape, each closed by a NUL, and 1.0 as the bytes 00 00 80 3f."""
    expected = hashlib.sha256(b"w\0float32\0(1,)\0\x00\x00\x80\x3f").hexdigest()
    assert weights_sha256({"w": np.array([1.0], dtype=np.float32)}) == expected
    expected = hashlib.sha256(b"n\0int64\0()\0" + bytes([17] + [0] * 7)).hexdigest()
    assert weights_sha256({"n": np.array(17, dtype=np.int64)}) == expected


def test_identity_does_not_depend_on_how_the_arrays_lie_in_memory() -> None:
    other = dict(reversed(model().items()))
    other["float32"] = np.asfortranarray(other["float32"])
    other["float64"] = np.repeat(other["float64"], 2, axis=0)[::2]
    other["int64"] = other["int64"].astype(">i8")
    other["float16"].flags.writeable = False
    assert weights_sha256(other) == weights_sha256(model())


@pytest.mark.parametrize(
    "name, changed",
    [
        ("float32", np.nextafter(model()["float32"], np.float32(9))),  # the last bit
        ("float32", model()["float32"].reshape(4, 3)),
        ("float32", model()["float32"].T),
        ("float16", model()["float16"].view(np.int16)),  # the same bytes
        ("zeros", np.zeros(2, np.float32)),  # -0.0 is not 0.0
        ("counter", np.array([17])),  # nor 17 in no dimensions in one
        ("empty", np.zeros((3, 0), np.float32)),
        ("bool", np.array([1, 0, 1], dtype=np.uint8)),
    ],
)
def test_identity_depends_on_dtype_shape_and_every_bit(name: str, changed: NDArray) -> None:
    assert weights_sha256({**model(), name: changed}) != weights_sha256(model())


def test_identity_depends_on_the_names() -> None:
    one, two = np.ones(2), np.zeros(2)
    assert weights_sha256({"a": one, "b": two}) != weights_sha256({"a": two, "b": one})
    assert weights_sha256({"a": one}) != weights_sha256({"c": one})


def test_every_dtype_and_shape_comes_back_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    save_weights(path, model())
    assert_same_bits(load_weights(path), model())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_values_and_not_memory_are_written(tmp_path: Path) -> None:
    transposed = {"t": np.arange(6.0).reshape(2, 3).T, "s": np.arange(8)[::2]}
    save_weights(tmp_path / "model.safetensors", transposed)
    assert_same_bits(load_weights(tmp_path / "model.safetensors"), transposed)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, model())
    with pytest.raises(Exception, match="object"):
        save_weights(path, {"w": np.array([object()])})
    assert_same_bits(load_weights(path), model())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_what_cannot_be_read_is_one_line_with_its_name(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"^[^\n]*model.safetensors: these weights cannot"):
        load_weights(path)
