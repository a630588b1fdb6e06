"""A package's method: what it must be, and what of it a site's guard knows, which loads none."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from strategies.field_kinds import Count, Real
from strategies.method import Key, Method, Settings

_WORD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAX_TITLE = 60
# Metrics that every reply has begin so.
_TAKEN = ("num", "train", "validation", "test", "seconds", "optimizer")
# The range of a number is known to the method only; the app checks it, and the coordinator.
_KINDS = {"count": Count(2**63 - 1), "real": Real(3.4e38)}


def fault(_: str, found: object) -> str:
    """Return what is wrong with a package's method, as the end of a sentence; empty if nothing."""
    if not isinstance(found, Method):
        return f"is of type {type(found).__name__}, not Method"
    if not isinstance(found.title, str) or not 0 < len(found.title) <= _MAX_TITLE:
        return f"has a title that is not a text of at most {_MAX_TITLE} characters"
    if wrong := fault_of_keys(found.keys):
        return wrong
    if not isinstance(found.scalars, Mapping):
        return "has scalars that are not a table"
    if wrong := _fault_of_names((*found.carried, *found.scalars)):
        return wrong
    for name, kind in found.scalars.items():
        if name.split("-")[0] in _TAKEN or not callable(kind):
            return f"has the scalar {name!r}, which is a metric of fedskin or has no function"
    hooks = (hook.name for hook in fields(Method) if hook.default is None)
    unusable = [name for name in hooks if not callable(getattr(found, name) or callable)]
    return f"has a {unusable[0]} that is not a function" if unusable else ""


def fault_of_keys(found: object) -> str:
    """Return what is wrong with the keys that a package's entry declares; empty if nothing."""
    if not isinstance(found, Mapping):
        return "has keys that are not a table"
    for key, said in found.items():
        numbers = isinstance(said, Key) and all(type(n) in (int, float) for n in _numbers(said))
        if not numbers or said.auto:
            return f"has the key {key!r}, which is not a Key of numbers"
    return _fault_of_names(found)


def _fault_of_names(names: Iterable[object]) -> str:
    for name in names:
        if not _is_word(name):
            return f"has {name!r}; names are words of small letters and digits, joined by hyphens"
    return ""


def declare(method: Method, settings: Settings) -> dict[str, Any]:
    """Return what a site's guard knows of a method, as a table for the bundle.

    Args:
        settings: a resolved config's keys with their values.
    """
    found = {name: kind(settings, None) for name, kind in method.scalars.items()}
    scalars = {name: "count" if isinstance(kind, Count) else "real" for name, kind in found.items()}
    return {"title": method.title, "carried": list(method.carried), "scalars": scalars}


def declared(table: object) -> Method:
    """Return a method that says what travels, from a table of `declare` that is not trusted.

    Raises:
        ValueError: it has another form.
    """
    if not isinstance(table, dict) or table.keys() != {"title", "carried", "scalars"}:
        raise ValueError("not a method's table")
    title, carried, scalars = table["title"], table["carried"], table["scalars"]
    if not isinstance(title, str) or len(title) > _MAX_TITLE or not title.isprintable():
        raise ValueError("not a method's title")
    if not isinstance(carried, list) or not isinstance(scalars, dict):
        raise ValueError("not a method's arrays and numbers")
    if not all(map(_is_word, (*carried, *scalars))):
        raise ValueError("not names of arrays and numbers")
    if not all(isinstance(kind, str) and kind in _KINDS for kind in scalars.values()):
        raise ValueError("not kinds of numbers")
    kinds = {name: _KINDS[kind] for name, kind in scalars.items()}
    return Method(
        title=title,
        paper="",
        equation="",
        carried=tuple(carried),
        scalars={name: lambda *_, kind=kind: kind for name, kind in kinds.items()},
    )


def _is_word(name: object) -> bool:
    return isinstance(name, str) and len(name) <= _MAX_TITLE and _WORD.fullmatch(name) is not None


def _numbers(key: Key) -> list[object]:
    bounds = (key.ge, key.gt, key.le, key.lt)
    return [key.default, *(bound for bound in bounds if bound is not None)]
