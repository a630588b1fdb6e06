"""The end of an error message about an unknown name: similar and known names."""

from collections.abc import Iterable
from difflib import get_close_matches

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


def near_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to an unknown one; None if none is.

    For arguments see `known_names`.
    """
    plain = {_plain(candidate): candidate for candidate in reversed(list(known))}
    near = get_close_matches(_plain(name[:100]), plain, n=1)
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
