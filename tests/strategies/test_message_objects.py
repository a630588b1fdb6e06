"""Messages read from their parts, byte for byte as Flower writes them."""

import json
from collections.abc import Iterable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.supercore.inflatable.inflatable_object import (
    get_object_tree,
)

from strategies.message_objects import ArrayHead, check_data, npy_header, open_message
from strategies.refusal import Refused
from tests.changed_messages import body, parts, rebuilt, root_of, with_body
from tests.fl_client.site.fake_coordinator import COUNTER, OPEN, WEIGHT, question, train_message


def opened(root: str, objects: dict[str, bytes]):
    return open_message(root, lambda ids: {i: objects[i] for i in ids})


def test_a_message_is_read_without_its_arrays_data() -> None:
    message = train_message()
    objects = parts(message)
    tree = get_object_tree(message)
    for array in tree.children[0].children[1].children:
        for chunk in array.children:
            del objects[chunk.object_id]
    found = opened(message.object_id, objects)
    assert found.tree == tree
    assert found.content.configs["config"] == OPEN
    assert found.content.configs["layout"]["names"] == ["weight", "counter"]
    assert found.content.arrays == {
        "arrays": {"float32": ("float32", (6,)), "int64": ("int64", (1,))}
    }


def test_each_level_is_fetched_at_once() -> None:
    """Over a long line, an array at a time would cost a second for each thirty of them."""
    objects, levels = parts(train_message()), []

    def fetch(ids: Iterable[str]) -> dict[str, bytes]:
        levels.append(list(ids))
        return {i: objects[i] for i in levels[-1]}

    open_message(root_of(objects), fetch)
    assert [len(level) for level in levels] == [1, 1, 3, 2]


def test_arrays_of_the_same_bytes_are_one_object_with_two_names() -> None:
    content = train_message().content
    content["arrays"] = ArrayRecord({"a": Array(WEIGHT), "b": Array(WEIGHT)})
    message = question("train", content)
    found = opened(message.object_id, parts(message))
    assert found.tree == get_object_tree(message)
    assert found.content.arrays["arrays"].keys() == {"a", "b"}


@pytest.mark.parametrize("array", [WEIGHT, COUNTER, np.zeros((0, 3)), np.array([True])])
def test_data_as_numpy_writes_it_is_accepted(array: np.ndarray) -> None:
    content = train_message().content
    content["arrays"] = ArrayRecord({"a": Array(array)})
    message = question("train", content)
    objects = parts(message)
    found = opened(message.object_id, objects)
    check_data(found, objects.__getitem__)
    # The same array, said to be of another dtype of the same size, is not what its data say.
    head = found.heads["arrays"]["a"]
    other = {1: "uint8", 4: "uint32", 8: "uint64"}[array.dtype.itemsize]
    found.heads["arrays"]["a"] = ArrayHead(other, head.shape, head.chunks)
    with pytest.raises(Refused, match="does not match its declaration"):
        check_data(found, objects.__getitem__)


def test_a_model_in_many_chunks_is_accepted_and_one_byte_more_is_not() -> None:
    array = np.zeros(3 * 5242880 // 4, np.float32)  # 5 MiB is Flower's chunk
    content = train_message().content
    content["arrays"] = ArrayRecord({"a": Array(array)})
    message = question("train", content)
    objects = parts(message)
    found = opened(message.object_id, objects)
    head = found.heads["arrays"]["a"]
    assert len(head.chunks) == 4
    check_data(found, objects.__getitem__)
    found.heads["arrays"]["a"] = ArrayHead(head.dtype, head.shape, (*head.chunks, head.chunks[1]))
    with pytest.raises(Refused):
        check_data(found, objects.__getitem__)


@pytest.mark.parametrize(
    "array",
    [np.array(["4711"]), np.array([b"4711"]), np.array([1j]), np.array([1, 2], dtype=">i4")],
)
def test_arrays_of_anything_but_plain_numbers_are_refused(array: np.ndarray) -> None:
    content = train_message().content
    content["arrays"] = ArrayRecord({"a": Array(array)})
    message = question("train", content)
    with pytest.raises(Refused):
        opened(message.object_id, parts(message))


def test_the_header_is_numpys_own() -> None:
    for array in (WEIGHT, COUNTER, np.zeros((0, 3))):
        data = Array(array).data
        header = npy_header(str(array.dtype), array.shape)
        assert data == header + array.tobytes()


def test_the_test_can_change_an_object() -> None:
    message = train_message()
    root, objects = rebuilt(message, b"Array", lambda content: content)
    assert objects == parts(message)
    assert opened(root, objects).tree == get_object_tree(message)


@pytest.mark.parametrize("content", [b"", b"Message", b"Message  0", b"Mess\0", b"[" * 99999])
def test_bytes_that_are_no_object_are_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="not as Flower writes them"):
        opened("x", {"x": content})


@pytest.mark.parametrize(
    "kind, change",
    [
        (b"Array", lambda c: with_body(c, body(c)[:-1] + b', "note": "4711"}')),
        (b"Array", lambda c: with_body(c, body(c) + b"   ")),
        (b"Array", lambda c: with_body(c, body(c).replace(b"numpy.ndarray", b"pickle"))),
        (b"ArrayRecord", lambda c: with_body(c, b"4711" + body(c))),
        (b"ArrayRecord", lambda c: with_body(c, json.dumps({"x": "4711"}).encode())),
        (b"ArrayRecord", lambda c: with_body(c, b"[" * 99999)),
        (b"RecordDict", lambda c: with_body(c, body(c).replace(b": ", b":  "))),
        (b"ConfigRecord", lambda c: with_body(c, body(c) + b"\xfa\x01\x044711")),  # field 31
        (b"Message", lambda c: with_body(c, body(c) + b"\xfa\x01\x044711")),
        (b"Message", lambda c: c.replace(b" ", b"  ", 1)),
        (b"Message", lambda c: c.partition(b"\0")[0] + b"0\0" + body(c)),
    ],
)
def test_bytes_that_nothing_declares_are_refused(kind: bytes, change) -> None:
    root, objects = rebuilt(train_message(), kind, change)
    with pytest.raises(Refused, match="not as Flower writes them"):
        opened(root, objects)
