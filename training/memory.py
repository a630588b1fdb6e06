"""The memory of a process that trains an experiment's network, without activations."""

from models.registry import find_backbone
from strategies.methods import METHODS
from training.config import ExperimentConfig

# Bytes of a process with torch: measured are 0.6 to 0.7 GB.
PROCESS_BYTES = 7 * 10**8

# Copies of a fully trained network: message, weights, gradients, the optimizer's state (two), reply
# or checkpoint.
_COPIES_OF_ALL = 6

# Further copies for what a method carries beside the weights: message and reply.
_COPIES_OF_CARRIED = 2

# Copies if only a part is trained (a few per cent of the whole): the base, and its file.
_COPIES_OF_BASE = 2


def training_bytes(config: ExperimentConfig) -> int:
    """Return the most bytes that a training process takes, without activations.

    Args:
        config: only ``backbone``, ``trainable``, ``wire-format`` and ``strategy`` are used.
    """
    copies = _COPIES_OF_BASE
    if config.trainable == "all":
        method, packed = METHODS[config.strategy], config.wire_format == "int8"
        # The rounding errors of int8 are as large as what is packed.
        copies = _COPIES_OF_ALL + packed + method.client_state
        copies += method.own_half is not None  # the client's own model, or the received one
        copies += len(method.carried) * (_COPIES_OF_CARRIED + packed)
    return PROCESS_BYTES + copies * find_backbone(config.backbone).megabytes * 10**6
