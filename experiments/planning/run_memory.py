"""The memory that a run needs: of the processes that train, and of the others."""

from fl_server.federated_config import concurrency, messages_under_way
from models.registry import find_backbone
from strategies.method import FLOWER_COPIES
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.memory import training_memory

# Of Flower's and Ray's processes.
_FLOWER_BYTES = 2 * 10**9


def memory_needed(command: str, config: ExperimentConfig, cpus: int) -> int:
    """Return the most bytes of the machine's memory that a run on ``cpus`` cores needs.

    Args:
        config: resolved; its threads do not matter.
    """
    training = training_memory(config).machine
    if command != "simulate":
        return training + _average_bytes(config)
    return server_bytes(config, cpus) + concurrency(config.asked_clients, cpus) * training


def server_bytes(config: ExperimentConfig, cpus: int) -> int:
    """Return the most bytes of a simulation's processes other than clients."""
    # The server holds the weights, the sum and replies before their turn, of which a strategy of
    # Flower's needs all, or builds the base to evaluate the trained part.
    held = min(config.asked_clients, messages_under_way(cpus))
    if METHODS[config.strategy].flower:
        held = config.asked_clients * (1 + FLOWER_COPIES)
    models = held + 2 if config.trainable == "all" else 1
    held_bytes = models * find_backbone(config.backbone).megabytes * 10**6
    return _FLOWER_BYTES + held_bytes + _average_bytes(config)


def _average_bytes(config: ExperimentConfig) -> int:
    """Return the bytes of the moving average; of a part of the network they hardly count."""
    if not config.ema_decay or config.trainable != "all":
        return 0
    return find_backbone(config.backbone).megabytes * 10**6
