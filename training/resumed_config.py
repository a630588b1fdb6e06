"""With which config a run that began may go on."""

from collections.abc import Mapping

from strategies.methods import METHODS
from training.checkpoint import Progress
from training.config import ExperimentConfig
from training.early_stopping import ends_after
from training.errors import ConfigError
from training.losses import LOSSES
from training.schedules import SCHEDULES


def same_length(began: ExperimentConfig, wanted: ExperimentConfig, length_key: str) -> bool:
    """Return whether what says when a run ends, its length and ``patience``, is the same."""
    ours, theirs = began.to_flat(), wanted.to_flat()
    return all(ours[key] == theirs[key] for key in (length_key, "patience"))


def check_can_go_on(
    began: ExperimentConfig,
    wanted: ExperimentConfig,
    length_key: str,
    progress: Progress,
    *,
    completed: bool,
) -> None:
    """Refuse a config that would give other results than the one that a run began with.

    Only the length may differ, and not be below what is already done; not even that with a schedule
    or a loss that depends on it. And ``patience`` may, if the run would not have ended earlier with
    the new one.

    Args:
        length_key: ``rounds`` or ``epochs``.
        completed: whether the run is.

    Raises:
        ConfigError: naming the keys that differ.
    """
    ours, theirs = began.identity(), wanted.identity()
    fixed = ""
    if SCHEDULES[wanted.schedule].needs_length:
        fixed = f"schedule = {wanted.schedule}"
    elif wanted.loss != "auto" and LOSSES[wanted.loss].late is not None:
        fixed = f"loss = {wanted.loss}"
    different = [
        f"{key} = {ours.get(key)!r}, not {theirs.get(key)!r}"
        for key in {**ours, **theirs}
        if key != "patience" and (key != length_key or fixed) and ours.get(key) != theirs.get(key)
    ]
    if different:
        raise ConfigError(
            f"holds a run of another config ({'; '.join(different)}); "
            f"{'not even' if fixed else 'only'} {length_key}{'' if fixed else ' and patience'} may "
            f"change when a run{f' with {fixed}' if fixed else ''} is resumed; choose "
            "another folder for another config"
        )
    done, length = progress.round, int(theirs[length_key])
    if length < done:
        raise ConfigError(f"{length_key} = {length}: {done} are done; allowed are {done} and more")
    late = length_key == "rounds" and not METHODS[wanted.strategy].pooled
    ends = ends_after(progress.records, wanted, validated_late=late)
    unit = length_key.removesuffix("s")
    if ends is not None and ends < done:
        raise ConfigError(
            f"patience = {wanted.patience}: would have ended the run after {unit} {ends}, and "
            f"{done} are done; set a longer one, or 0"
        )
    if ends == done < length and completed and not same_length(began, wanted, length_key):
        raise ConfigError(
            f"{length_key} = {length}: with patience = {wanted.patience} the run ends after "
            f"{unit} {done}, which is done; to go on, set a longer patience, or 0"
        )


def check_packages(began: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuse to go on with other versions of plug-ins than those that a run began with.

    Args:
        began: version by package.

    Raises:
        ConfigError: they differ.
    """
    if began != wanted:
        first, other = (" and ".join(map(" ".join, p.items())) for p in (began, wanted))
        raise ConfigError(
            f"holds a run that began with {first}, not {other}; install that, or choose another "
            "folder"
        )
