"""What to say of a name that is not known: the one that was meant, and those there are."""

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 20
"""With more names than this, a name that was probably meant is said without the list."""


def known_names(name: str, known: Iterable[str]) -> str:
    """Return the end of a refusal of a name: ``did you mean …?``, ``known are …``, or both.

    Capital letters, blanks, ``_`` and ``-`` make no difference to what was probably meant.

    Args:
        name: what was written, of any length.
        known: the names there are, in the order to list them.
    """
    names = list(known)
    plain = {_plain(candidate): candidate for candidate in reversed(names)}
    near = get_close_matches(_plain(name[:100]), plain, n=1)
    listed = f"nown are {', '.join(names)}"
    if not near:
        return f"k{listed}"
    meant = f"did you mean {plain[near[0]]}?"
    return meant if len(names) > LISTED else f"{meant} K{listed}"


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
