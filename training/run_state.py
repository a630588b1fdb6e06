"""The states of a run, and so of an order for one and of a campaign's trial."""

from enum import StrEnum

# The cause of the failure of a run that a person or a batch system ended.
INTERRUPTED = "interrupted"


class RunState(StrEnum):
    """A state, as manifests, orders, records of attempts and tables spell it."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    """A person ended it; it continues only if it is ordered again."""
    LOST = "lost"
    """A process died; it is attempted again."""
