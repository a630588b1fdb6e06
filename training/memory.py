"""The memory of a process that trains an experiment's network, estimated."""

from dataclasses import dataclass

from models.activation_sizes import activation_bytes
from models.registry import find_backbone
from strategies.methods import METHODS
from training.config import ExperimentConfig

# Bytes of a process with torch: measured are 0.6 to 0.7 GB.
PROCESS_BYTES = 7 * 10**8

# Copies of a fully trained network: message, weights, gradients, the optimizer's state (two), reply
# or checkpoint.
_COPIES_OF_ALL = 6

# Of those, the message and the reply, which stay off a GPU.
_COPIES_OF_MESSAGES = 2

# Further copies for what a method carries beside the weights: message and reply.
_COPIES_OF_CARRIED = 2

# Copies if only a part is trained (a few per cent of the whole): the base, and its file.
_COPIES_OF_BASE = 2

# Bytes of a GPU that CUDA takes for each process.
CUDA_BYTES = 6 * 10**8

# For what kernels need beside what autograd keeps, and for how memory is divided into pieces. With
# it no backbone's peak on an H200, and none of five on a CPU, is above the estimate
# (docs/performance.md).
_MARGIN = 1.25

# Of float32's activations under bfloat16's autocast: 0.54 to 0.68 on an H200.
_UNDER_AUTOCAST = 0.7

# Of the activations where nothing is kept for gradients: 0.1 to 0.4 of six backbones on a CPU.
_WITHOUT_GRADIENTS = 0.25


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one training process takes: of the machine's memory, and of a GPU's, else 0."""

    machine: int
    gpu: int = 0


def training_memory(config: ExperimentConfig) -> TrainingMemory:
    """Return the most that a training process takes.

    Args:
        config: resolved.

    Raises:
        BackboneError: the backbone's library does not know it.
    """
    process, activations = training_bytes(config), batch_bytes(config)
    if config.device != "cuda":
        return TrainingMemory(process + activations)
    messages = _COPIES_OF_MESSAGES if config.trainable == "all" else 1
    copies = process - PROCESS_BYTES - messages * _network_bytes(config)
    return TrainingMemory(process, CUDA_BYTES + copies + activations)


def batch_bytes(config: ExperimentConfig) -> int:
    """Return about how many bytes the activations of a batch take.

    Args:
        config: resolved.

    Raises:
        BackboneError: the backbone's library does not know it.
    """
    scale = _MARGIN
    if config.precision == "bfloat16":
        scale *= _UNDER_AUTOCAST
    if config.on_features:  # images only pass to the features
        scale *= _WITHOUT_GRADIENTS
    images = config.batch_size * (1 if config.alignment == "none" else 2)  # and reference images
    return round(scale * images * activation_bytes(config.backbone, config.image_size))


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
    return PROCESS_BYTES + copies * _network_bytes(config)


def _network_bytes(config: ExperimentConfig) -> int:
    return find_backbone(config.backbone).megabytes * 10**6
