"""Errors of this package."""

from operation.errors import InputError


class BackboneError(InputError, ValueError):
    """A backbone or text encoder does not exist, or cannot take an image size."""


class WeightsError(InputError, ValueError):
    """Pretrained weights or text features are missing or unusable."""


class HeadError(InputError, ValueError):
    """Features or a head's file cannot be used."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
