"""A tracker of one run: what MLflow and TensorBoard have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from experiments.tracking.points import Point
from training.config import Scalar
from training.run_state import RunState


class TrackingError(RuntimeError):
    """A tracker did not accept something; the message is one line, and nothing is lost.

    Args:
        reason: which tracker it is, and why.
        kept: what becomes of the results.

    Attributes:
        reason: as above.
    """

    def __init__(self, reason: str, kept: str) -> None:
        super().__init__(f"{reason}; {kept}")
        self.reason = reason


class Tracker(ABC):
    """Where a run is tracked. Every method can raise `TrackingError`."""

    @abstractmethod
    def begin(self, config: Mapping[str, Scalar], tags: Mapping[str, str], started: int) -> int:
        """Begin the run, or continue it.

        Args:
            config: the resolved config, its parameters.
            tags: further facts about it.
            started: in milliseconds since 1970.

        Returns:
            The last round that has arrived; 0 if none has.
        """

    @abstractmethod
    def add_round(self, points: Sequence[Point]) -> None:
        """Add the figures of the next round; after a kill within, it has not arrived."""

    @abstractmethod
    def add_figures(self, points: Sequence[Point]) -> None:
        """Add those of the final figures that are not there yet."""

    @abstractmethod
    def end(self, state: RunState, said: str, time: int) -> None:
        """Record how the run ended.

        Args:
            state: completed, failed, or stopped by a person.
            said: the cause; of a completed run what clients missed, if they missed anything.
            time: in milliseconds since 1970.
        """
