"""The errors of this floor, each message one line for a person."""


class ConfigError(ValueError):
    """A config that cannot be run: one line for each fault, all faults together."""


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked, in one line."""


class TrainingError(RuntimeError):
    """Training that cannot go on, in one line."""
