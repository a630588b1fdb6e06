"""The memory of a run, from the copies of its network."""

from experiments.planning.run_memory import memory_needed
from training.config import ExperimentConfig, parse
from training.memory import PROCESS_BYTES, batch_bytes
from training.study import resolve


def resolved(values: dict[str, object]) -> ExperimentConfig:
    """Of a run on a CPU."""
    return resolve(parse(values), dataset="ham10000", device="cpu", threads_per_client=1)


def test_memory_counts_models_and_processes() -> None:
    """convnext_l has 785 MB: six copies for each client at work, and five at the server.

    On two cores all three clients are at work, on one core only one.
    """
    config = resolved({"backbone": "convnext_l"})
    model, activations = 785 * 10**6, batch_bytes(config)
    assert memory_needed("clip", config, 2) == PROCESS_BYTES + 6 * model + activations
    for cpus, at_work in ((2, 3), (1, 1)):
        client = PROCESS_BYTES + 6 * model + activations
        expected = 2 * 10**9 + at_work * client + 5 * model
        assert memory_needed("simulate", config, cpus) == expected


def test_a_strategy_of_flowers_own_needs_memory_at_the_server() -> None:
    """Of each of three replies eight copies more."""
    plain, robust = (
        memory_needed("simulate", resolved({"backbone": "resnet18", **keys}), 2)
        for keys in ({}, {"strategy": "median"})
    )
    assert robust - plain == 3 * 8 * 45 * 10**6


def test_memory_of_a_part_is_its_base() -> None:
    """Two copies of 785 MB for each of three clients at work, and one at the server."""
    config = resolved({"backbone": "convnext_l", "trainable": "lora"})
    model = 785 * 10**6
    expected = 2 * 10**9 + 3 * (PROCESS_BYTES + 2 * model + batch_bytes(config)) + model
    assert memory_needed("simulate", config, 2) == expected


def test_a_moving_average_is_one_copy_more() -> None:
    """At the server, whatever clients are at work; of a centralized run in its one process."""
    plain, averaged = ({"backbone": "convnext_l", "ema-decay": decay} for decay in (0.0, 0.9))
    for command in ("simulate", "clip"):
        more = memory_needed(command, resolved(averaged), 2) - memory_needed(
            command, resolved(plain), 2
        )
        assert more == 785 * 10**6
