"""The study's settings, which ``auto`` means. docs/study.md gives the source of each."""

from data_partition.datasets import find_dataset
from strategies.methods import replies_needed
from training.config import DEFAULTS, ExperimentConfig, Scalar, parse
from training.declared_keys import keys_of
from training.losses import OWN
from training.optimizers import OPTIMIZERS

# Keys whose value 0 is resolved.
OPEN_AT_ZERO = ("batch-size", "min-replies", "threads-per-client")


def resolve_like(config: ExperimentConfig, resolved: ExperimentConfig) -> ExperimentConfig:
    """Return a config whose open values (``auto``, 0) are taken from a resolved config.

    A resumed run keeps the values of its first start, even if this machine would now get others.
    """
    planned = resolved.to_flat()
    open_keys = {
        key: planned[key]
        for key, value in config.to_flat().items()
        if value == "auto" or (value == 0 and key in OPEN_AT_ZERO)
    }
    return parse({**config.to_flat(), **open_keys})


def resolve(
    config: ExperimentConfig, *, dataset: str, device: str, threads_per_client: int
) -> ExperimentConfig:
    """Return the config without ``auto`` values, so that running it again repeats the run.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``, as found on the machine.
        threads_per_client: CPU threads for each client, at least 1.
    """
    row, values = OPTIMIZERS[config.chosen_optimizer], config.to_flat()
    # A key of another optimizer is 0, since a resolved config needs a number.
    others = {
        key: row.keys[key].default if key in row.keys else type(said.default)(0)
        for key, said in keys_of("optimizer").items()
        if values[key] == "auto"
    }
    data_set = find_dataset(dataset)
    needed = replies_needed(config.strategy, values)
    return config.replace(
        **others,
        dataset=dataset,
        loss=config.chosen_loss,
        optimizer=config.chosen_optimizer,
        learning_rate=row.learning_rate if config.learning_rate == "auto" else config.learning_rate,
        weight_decay=row.weight_decay if config.weight_decay == "auto" else config.weight_decay,
        batch_size=config.batch_size or data_set.study.batch_size[config.objective],
        # All slices of a patient are in one client and split.
        split_by="lesion" if data_set.sliced else config.split_by,
        min_replies=config.min_replies or max(needed, config.asked_clients - 1),
        device=device,
        threads_per_client=config.threads_per_client or threads_per_client,
    )


RESOLVED_NUMBERS = (
    *("learning-rate", "weight-decay"),
    *(key for key, said in keys_of("optimizer").items() if said.auto),
)
"""Keys that are numbers in a resolved config and may be ``auto`` before."""

FOLLOWING = ("loss", *RESOLVED_NUMBERS, "batch-size", "min-replies")
"""Keys whose values may follow from the others."""


def chosen(config: ExperimentConfig) -> dict[str, Scalar]:
    """Return the keys of a resolved config; a value that follows from the others is left open.

    So the learning rate is ``auto`` where it is the optimizer's own, and trials that differ in the
    optimizer alone differ in one key.
    """
    values = config.to_flat()
    # A package's loss follows from nothing, and has keys that no other loss has.
    may_follow = [key for key in FOLLOWING if key != "loss" or values["loss"] in OWN]
    left_open = parse({**values, **{key: DEFAULTS[key] for key in may_follow}})
    following = resolve(
        left_open,
        dataset=config.dataset,
        device=config.device,
        threads_per_client=config.threads_per_client,
    ).to_flat()
    return {
        key: DEFAULTS[key] if key in may_follow and value == following[key] else value
        for key, value in values.items()
    }
