"""The errors of this floor that a person can mend, each message one line."""


class BackboneError(ValueError):
    """A backbone or text encoder that does not exist, or an image size that it cannot take."""


class WeightsError(ValueError):
    """Pretrained weights, or text features, that are not there or cannot be used.

    The message names the file and the remedy.
    """


class HeadError(ValueError):
    """Features that no head can be fitted on or judge, or a head's file that cannot be used."""


def first_line(error: BaseException) -> str:
    """Return what another library's error says, cut to one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
