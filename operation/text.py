"""Text that came from outside: made safe to print and to store."""

MAX_LENGTH = 300
"""Characters that a reason or a message from outside may take, unless told otherwise."""


def printable(text: str, max_length: int = MAX_LENGTH) -> str:
    """Return text on one line that no terminal, log or table can be misled by.

    Every character that `str.isprintable` does not call printable (escape sequences, line breaks,
    controls that turn the direction of writing) becomes a space, and what is longer than
    ``max_length`` characters is cut, with an ellipsis as the last of them.

    Args:
        text: of any length and content.
        max_length: at least 1.
    """
    # Cut first: a text of many megabytes is not to be walked through.
    cut = text[:max_length] if len(text) <= max_length else text[: max_length - 1] + "…"
    return "".join(character if character.isprintable() else " " for character in cut)
