"""The error that unusable data cause."""

from operation.errors import InputError


class DataError(InputError, ValueError):
    """Input data that cannot be used."""
