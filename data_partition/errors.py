"""The error that unusable data cause."""


class DataError(ValueError):
    """Input data that cannot be used.

    The message is one line that names the problem and the remedy. The command line prints it and
    exits with status 2.
    """
