"""The one error a person's data can cause."""


class DataError(ValueError):
    """Input data that cannot be used.

    Its message is one line that names the thing and the remedy; the command line prints it and
    exits with status 2.
    """
