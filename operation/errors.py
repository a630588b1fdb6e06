"""The error of this package."""


class OperationError(Exception):
    """What a coordinator or a site lacks or is asked in vain, in lines that name the remedy."""
