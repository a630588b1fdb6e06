"""Messages as objects, and the same messages after an attacker has changed some."""

from collections.abc import Callable

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id


def parts(message: Message) -> dict[str, bytes]:
    return {i: o.deflate() for i, o in get_all_nested_objects(message).items()}


def root_of(objects: dict[str, bytes]) -> str:
    return next(i for i, content in objects.items() if content.startswith(b"Message "))


def rebuilt(
    message: Message, kind: bytes, change: Callable[[bytes], bytes]
) -> tuple[str, dict[str, bytes]]:
    """Change one object's bytes and give new ids to all above it, as a malicious app can."""
    objects = parts(message)
    old = next(i for i, content in objects.items() if content.startswith(kind + b" "))
    content = change(objects.pop(old))
    new = get_object_id(content)
    objects[new] = content
    for above in (b"Array", b"ArrayRecord", b"RecordDict", b"Message"):
        for i, parent in list(objects.items()):
            if parent.startswith(above + b" ") and old.encode() in parent:
                content = objects.pop(i).replace(old.encode(), new.encode())
                old, new = i, get_object_id(content)
                objects[new] = content
    return root_of(objects), objects


def with_body(content: bytes, body: bytes) -> bytes:
    head, _, _ = content.partition(b"\0")
    kind, children, _ = head.split(b" ")
    return b"%s %s %d\0%s" % (kind, children, len(body), body)


def body(content: bytes) -> bytes:
    return content.partition(b"\0")[2]
