"""The errors that a person can mend; the command line prints them and exits with status 2."""


class ConfigError(ValueError):
    """A config that cannot be run: one line for each fault, all faults together."""


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked, in one line."""
