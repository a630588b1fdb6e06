"""Text from outside, made safe to print and to store."""

import json

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
