"""Text from outside: made printable, names in order, and names that are not known."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches

MAX_LENGTH = 300
"""Maximum number of characters of a reason or message from outside, by default."""


def printable(text: str, max_length: int = MAX_LENGTH) -> str:
    """Return text on one line that is safe for terminals, logs and tables.

    Every character that is not printable by `str.isprintable` (escape sequences, line breaks,
    controls of the writing direction) becomes a space, and text longer than ``max_length``
    characters is cut, with an ellipsis as the last character.

    Args:
        max_length: at least 1.
    """
    # Cut first, so that a text of many megabytes is not processed.
    cut = text[:max_length] if len(text) <= max_length else text[: max_length - 1] + "…"
    return "".join(character if character.isprintable() else " " for character in cut)


def quoted(text: str) -> str:
    """Return printable text from outside in double quotes, so that it can be told from what it
    stands between; double quotes in it are escaped.
    """
    return json.dumps(text, ensure_ascii=False)


def natural_sort_key(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key for names: digits count as numbers, so client-10 is after client-2."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its word: ``1 image``, ``2,000 images``.

    Args:
        many: the word of any number but 1; otherwise ``one`` with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


LISTED = 20
"""With more known names than this, a similar name is given without the list."""


def known_names(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: ``did you mean …?``, ``known are …``, or both.

    Similar names may differ in capital letters, blanks, ``_`` and ``-``.

    Args:
        known: the known names, in the order to list them.
    """
    names = list(known)
    near = near_name(name, names)
    listed = f"nown are {', '.join(names)}"
    if near is None:
        return f"k{listed}"
    meant = f"did you mean {near}?"
    return meant if len(names) > LISTED else f"{meant} K{listed}"


def near_name(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most similar to an unknown one; None if none is.

    Args:
        known: see `known_names`.
        likeness: the least share of letters that both must have in the same order, up to 1.
    """
    plain = {_plain(candidate): candidate for candidate in reversed(list(known))}
    near = get_close_matches(_plain(name[:100]), plain, n=1, cutoff=likeness)
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
