"""How much memory the process that trains an experiment's network takes, but for activations."""

from models.registry import find
from training.config import ExperimentConfig

# Of a process with torch.
PROCESS_BYTES = 10**9

# Copies of a network that is trained whole: message, weights, gradients, the optimizer's state
# (two), reply or checkpoint.
_COPIES_OF_ALL = 6

# Copies where a part is trained, whose own are a few per cent of one: the base, and its file.
_COPIES_OF_BASE = 2


def training_bytes(config: ExperimentConfig) -> int:
    """Return how many bytes a process that trains takes at most, but for activations.

    Args:
        config: its ``backbone``, ``trainable`` and ``wire-format`` are looked at.
    """
    copies = _COPIES_OF_BASE
    if config.trainable == "all":
        # What int8 leaves over is as large as what is trained.
        copies = _COPIES_OF_ALL + (config.wire_format == "int8")
    return PROCESS_BYTES + copies * find(config.backbone).megabytes * 10**6
