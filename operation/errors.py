"""The errors of bad input, and the one of this package."""


class InputError(Exception):
    """Something that was given or found cannot be used.

    The message has a line for each problem, which names the thing and the remedy. The command line
    prints it and exits with status 2.
    """


class OperationError(InputError):
    """Something is missing or cannot be done."""
