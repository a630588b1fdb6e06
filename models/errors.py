"""The errors of this floor that a person can mend, each message one line."""


class BackboneError(ValueError):
    """A backbone that does not exist, or an image size that it cannot take."""


class WeightsError(ValueError):
    """Pretrained weights that are not there or cannot be used.

    The message names the file and the remedy.
    """
