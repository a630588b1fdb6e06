"""Errors of this package that the user can fix; each message is one line."""


class BackboneError(ValueError):
    """A backbone or text encoder does not exist, or cannot take an image size."""


class WeightsError(ValueError):
    """Pretrained weights or text features are missing or unusable.

    The message names the file and the fix.
    """


class HeadError(ValueError):
    """Features or a head's file cannot be used."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
