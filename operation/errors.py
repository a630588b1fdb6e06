"""The error of this package."""


class OperationError(Exception):
    """Something is missing or cannot be done; the message names the problem and the fix."""
