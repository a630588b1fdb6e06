"""Errors of this package; each message is one line for the user."""


class ConfigError(ValueError):
    """A config that cannot be run; the message has one line for each error."""


class RunFolderError(ValueError):
    """A run folder cannot be used as requested."""


class TrainingError(RuntimeError):
    """Training cannot continue."""
