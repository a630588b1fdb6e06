"""Errors of this package."""

from operation.errors import InputError


class ConfigError(InputError, ValueError):
    """A config that cannot be run; the message has one line for each error."""


class RunFolderError(InputError, ValueError):
    """A run folder cannot be used as requested."""


class TrainingError(InputError, RuntimeError):
    """Training cannot continue."""
