"""A strategy of Flower's own in the place of the mean, such as Krum or the median."""

from fractions import Fraction

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedMedian, Strategy

from strategies.aggregation import NotFinite, is_finite
from strategies.arrays import Blank, to_record, view
from strategies.replies import ARRAYS, METRICS, NUM_EXAMPLES, TooFewReplies


class FlowerMean:
    """Lets a strategy make the next arrays from the valid replies of a round.

    It sees floats only, as the long arrays in which they travel, and as ``num-examples`` the
    clients' weights; integers take the largest value. They are float64: Flower computes a distance
    from two norms, and of two models that are near one another float32 leaves nothing of it. It
    configures each round, so that a wrapper for differential privacy knows what updates start from,
    but our own messages are sent. What it keeps from round to round is not in the checkpoint.

    Memory: of each client, in copies of its reply as float32, the reply and `FLOWER_COPIES` more.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._round = 0
        self._taken: list[tuple[ArrayRecord, float | Fraction]] = []

    def begin(self, server_round: int, arrays: ArrayRecord, grid: Grid) -> None:
        """Tell it what the clients receive.

        Args:
            arrays: what they receive.
        """
        self._round = server_round
        # Flower's base class, whose method the median has, only makes messages, which nobody sends.
        if type(self._strategy).configure_train is not FedMedian.configure_train:
            self._strategy.configure_train(server_round, _floats(arrays), ConfigRecord(), grid)

    def add(self, record: ArrayRecord, weight: float | Fraction) -> None:
        """Add a client's arrays, with its weight > 0."""
        self._taken.append((record, weight))

    def finish(self) -> ArrayRecord:
        """Return what it makes of the clients' arrays, in their dtypes and shapes.

        Raises:
            NotFinite: it is NaN or infinite somewhere.
            TooFewReplies: it makes nothing of so few replies.
        """
        taken, self._taken = self._taken, []
        messages = [
            Message(
                RecordDict(
                    {ARRAYS: _floats(record), METRICS: MetricRecord({NUM_EXAMPLES: float(weight)})}
                ),
                dst_node_id=index,
                message_type=MessageType.TRAIN,
            )
            for index, (record, weight) in enumerate(taken)
        ]
        found, _ = self._strategy.aggregate_train(self._round, messages)
        if found is None:
            name = type(self._strategy).__name__
            raise TooFewReplies(f"Flower's {name} makes no model of {len(taken)} replies")
        result = ArrayRecord()
        for name, array in taken[0][0].items():
            blank = Blank(np.dtype(array.dtype), tuple(array.shape))
            if name in found:
                np.copyto(blank.values, found[name].numpy(), casting="same_kind")
            else:
                np.copyto(blank.values, view(array))
                for record, _ in taken[1:]:
                    np.maximum(blank.values, view(record[name]), out=blank.values)
            if not is_finite(blank.values):
                raise NotFinite
            result[name] = blank.finish()
        return result


def _floats(record: ArrayRecord) -> ArrayRecord:
    """Return a record with the float arrays in float64."""
    arrays = {name: view(array) for name, array in record.items()}
    return to_record(
        {
            name: array.astype(np.float64)
            for name, array in arrays.items()
            if np.issubdtype(array.dtype, np.floating)
        }
    )
