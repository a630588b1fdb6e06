"""Reading the parts of Flower's messages without putting any array together.

A message is sent as a tree of objects, each named by the sha256 of its bytes: the message contains
a record dict, that its records, an array record its arrays, and an array its data in chunks.
Flower's public classes can read only whole messages. Here the parts are read one by one. Any part
that is not byte for byte as Flower would write it is refused, so there is no room for undeclared
data.

The guard of a site uses this to read incoming messages and outgoing replies, the coordinator to
read replies.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, MetricRecord
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from operation.files import parse_json
from operation.flower_internals import (
    ObjectTree,
    ProtoMessage,
    ProtoMetadata,
    UnexpectedObjectContentError,
    get_object_head_values_from_object_content,
)
from strategies.arrays import dtype_of, npy_header
from strategies.refusal import Refused
from strategies.reply_form import Content, ReplyForm

Fetch = Callable[[Iterable[str]], Mapping[str, bytes]]

_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    DecodeError,
    UnexpectedObjectContentError,
    RecursionError,
)
# Limit for records of settings and counts; the data of arrays is not limited by it.
_MAX_RECORD_BYTES = 8 * 1024 * 1024
# Flower cuts an array into chunks of 5 MiB; the last one is smaller.
_LEAST_CHUNK_BYTES = 1024 * 1024
# An id and a name, or an id and a number, with what stands between them; an object's other fields.
_NAMED_BYTES = 400
_ID = re.compile(r"[0-9a-f]{64}")
_KINDS = {"ArrayRecord": "arrays", "ConfigRecord": "config", "MetricRecord": "metrics"}


@dataclass(frozen=True)
class ArrayHead:
    """An array's declared dtype and shape, and the ids of its chunks in order."""

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * dtype_of(self.dtype).itemsize


@dataclass
class Opened:
    """A message without the data of its arrays."""

    metadata: ProtoMetadata  # as the message's own object states it
    tree: ObjectTree  # the tree of its objects
    content: Content = field(default_factory=Content)  # its records; of arrays the dtype and shape
    # Each array's head, by record and name.
    heads: dict[str, dict[str, ArrayHead]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)  # the id of each record's object
    has_error: bool = False  # whether it is an error; then it has no content

    def chunks(self) -> set[str]:
        """Return the ids of all objects with array data."""
        return {
            chunk
            for arrays in self.heads.values()
            for head in arrays.values()
            for chunk in head.chunks
        }

    def listed(self) -> list[dict[str, Any]]:
        """Return the records as records.jsonl lists them; the bytes of arrays are those of their
        values.
        """
        return [
            {"name": name, "kind": kind, "bytes": num_bytes, "sha256": self.ids[name]}
            for name, kind, num_bytes in [
                *((n, "config", len(repr(v))) for n, v in self.content.configs.items()),
                *((n, "metrics", len(repr(v))) for n, v in self.content.metrics.items()),
                *(
                    (n, "arrays", sum(head.num_bytes for head in arrays.values()))
                    for n, arrays in self.heads.items()
                ),
            ]
        ]


def open_message(root: str, fetch: Fetch, form: ReplyForm | None = None) -> Opened:
    """Read a message without the data of its arrays.

    Args:
        root: the id of the message's object.
        fetch: returns the bytes of objects by their ids; called once for each level of the tree.
        form: form of a reply; a part that does not match it is refused before its children are
            fetched.

    Raises:
        Refused: a part is not as Flower writes it, or does not match the form.
    """
    try:
        return _open_message(root, fetch, form)
    except _MALFORMED as error:
        raise Refused("its objects are not as Flower writes them", repr(error)) from None


def _open_message(root: str, fetch: Fetch, form: ReplyForm | None) -> Opened:
    children, body = _read(fetch([root])[root], "Message")
    proto = ProtoMessage.FromString(bytes(body))
    opened = Opened(proto.metadata, ObjectTree(object_id=root))
    plain = ProtoMessage(metadata=proto.metadata)
    if proto.HasField("error"):
        plain.error.CopyFrom(proto.error)
        opened.has_error = True
    _same(plain.SerializeToString(deterministic=True), body)
    if opened.has_error:
        _same([], children)
        return opened
    (content_id,) = children

    children, body = _read(fetch([content_id])[content_id], "RecordDict")
    opened.ids = _references(body, children)
    if form is not None and opened.ids.keys() != form.records:
        raise Refused("its records are not those declared", repr(sorted(opened.ids)))
    records = fetch(children)
    kinds = {i: records[i][:32].partition(b" ")[0].decode("ascii") for i in children}
    below = {i: _read(records[i], kinds[i]) for i in children}
    if form is not None:
        for name, i in opened.ids.items():
            _check_record(form, name, kinds[i], len(records[i]), *below[i])
    arrays = fetch([a for i in children if kinds[i] == "ArrayRecord" for a in below[i][0]])
    if form is not None:
        _check_heads(form, arrays.values())
    heads = {i: _array_head(content) for i, content in arrays.items()}

    for name, record in opened.ids.items():
        nested, body = below[record]
        match kinds[record]:
            case "ConfigRecord":
                config = ConfigRecord.inflate(records[record])
                _same(config.deflate(), records[record])
                opened.content.configs[name] = dict(config)
            case "MetricRecord":
                metrics = MetricRecord.inflate(records[record])
                _same(metrics.deflate(), records[record])
                opened.content.metrics[name] = dict(metrics)
            case "ArrayRecord":
                named = {n: heads[i] for n, i in _references(body, nested).items()}
                opened.heads[name] = named
                opened.content.arrays[name] = {n: (h.dtype, h.shape) for n, h in named.items()}
            case kind:
                raise ValueError(f"record of kind {kind!r}")
    records_below = [
        _tree(i, [_tree(a, map(_tree, dict.fromkeys(heads[a].chunks))) for a in below[i][0]])
        for i in children
    ]
    opened.tree = _tree(root, [_tree(content_id, records_below)])
    if form is not None:
        form.check(opened.content)
        for arrays_of_record in opened.heads.values():
            for name, head in arrays_of_record.items():
                if len(head.chunks) > _most_chunks(head.num_bytes):
                    raise Refused("an array has more data than its values take", name)
    return opened


def _check_record(
    form: ReplyForm, name: str, kind: str, size: int, children: list[str], body: memoryview
) -> None:
    """Refuse a record that is too large, or has other arrays, before any of them is fetched."""
    if kind != "ArrayRecord":
        if size > form.record_bytes:
            raise Refused(f"a record of it is larger than {form.record_bytes} bytes", name)
        return
    if name not in form.arrays:
        raise Refused("its records are not those declared", name)
    wanted = form.arrays[name]
    # Each array is named twice by its id, and once by its name.
    most = sum(_NAMED_BYTES + len(key) for key in wanted) + _NAMED_BYTES
    if size > most or len(_references(body, children)) != len(wanted):
        raise Refused("its arrays differ from those asked for in name, dtype or shape")


def _check_heads(form: ReplyForm, heads: Iterable[bytes]) -> None:
    """Refuse an array whose list of chunks is longer than any array's can be, before it is read."""
    sizes = [
        ArrayHead(*array, ()).num_bytes
        for arrays in form.arrays.values()
        for array in arrays.values()
    ]
    most = _NAMED_BYTES * (1 + _most_chunks(max(sizes, default=0)))
    if any(len(content) > most for content in heads):
        raise Refused("an array has more data than its values take")


def _most_chunks(num_bytes: int) -> int:
    return 2 + num_bytes // _LEAST_CHUNK_BYTES


def check_data(opened: Opened, get: Callable[[str], bytes]) -> None:
    """Check that every array's data is a .npy file of its own dtype and shape, and no more.

    Reads the beginning of the first chunk and the lengths of the chunks; copies nothing.

    Raises:
        Refused: it is not.
    """
    for arrays in opened.heads.values():
        for head in arrays.values():
            parts = [chunk_of(get(chunk)) for chunk in head.chunks]
            header = npy_header(head.dtype, head.shape)
            first = bytes(parts[0][: len(header)]) if parts else b""
            if first != header or sum(map(len, parts)) != len(header) + head.num_bytes:
                raise Refused("an array's data does not match its declaration")


def chunk_of(content: bytes) -> memoryview:
    """Return the piece of an array's data in an object.

    Raises:
        Refused: it is not a chunk object.
    """
    try:
        children, body = _read(content, "ArrayChunk")
        _same([], children)
    except _MALFORMED as error:
        raise Refused("its objects are not as Flower writes them", repr(error)) from None
    return body


def _array_head(content: bytes) -> ArrayHead:
    children, body = _read(content, "Array")
    stated = parse_json(bytes(body))
    _same(["dtype", "shape", "stype", "arraychunk_ids"], list(stated))
    _same(json.dumps(stated).encode(), body)
    dtype, shape, indices = stated["dtype"], stated["shape"], stated["arraychunk_ids"]
    numbers = [*shape, *indices]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("shape or chunks")
    _same(list(range(len(children))), list(dict.fromkeys(indices)))
    _same("numpy.ndarray", stated["stype"])
    dtype_of(dtype)
    return ArrayHead(dtype, tuple(shape), tuple(children[i] for i in indices))


def _read(content: bytes, kind: str) -> tuple[list[str], memoryview]:
    """Return the ids of an object's children and its body; refuse bytes that are not Flower's own
    encoding.
    """
    if kind != "ArrayChunk" and len(content) > _MAX_RECORD_BYTES:
        raise ValueError("too large")
    found, children, length = get_object_head_values_from_object_content(content)
    if not all(_ID.fullmatch(child) for child in children):
        raise ValueError("ids")
    body = memoryview(content)[content.index(b"\0") + 1 :]
    head = f"{kind} {','.join(children)} {len(body)}".encode()
    _same(content[: len(head)], head)
    _same((kind, len(body)), (found, length))
    return children, body


def _references(body: memoryview, children: list[str]) -> dict[str, str]:
    """Return the ids of a record's parts by name."""
    references = parse_json(bytes(body))
    _same(json.dumps(references).encode(), body)
    _same(list(dict.fromkeys(references.values())), children)
    return dict(references)


def _tree(object_id: str, children: Iterable[ObjectTree] = ()) -> ObjectTree:
    return ObjectTree(object_id=object_id, children=children)


def _same(ours: object, theirs: object) -> None:
    if ours != theirs:
        raise ValueError("not as Flower would write it")
