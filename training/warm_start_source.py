"""The run that key ``init-from`` names, checked before anything is built."""

from pathlib import Path

from strategies.methods import METHODS
from training.config import HEAD_NAMES, ExperimentConfig
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.run_model import check_has


def check_source(config: ExperimentConfig) -> None:
    """Refuse a run whose weights cannot be the first ones of this config's; nothing is loaded.

    Raises:
        RunFolderError: ``init-from`` is no run folder, or the run is unfinished, has no network of
            its own or none for all clients, or trains something else.
    """
    if not config.init_from:
        return
    source = RunFolder(Path(config.init_from))
    theirs = source.config()
    source.check_completed()
    if "from" in source.manifest():
        raise RunFolderError(
            f"{source.path}: holds heads on another run's network; name that run as init-from"
        )
    check_has(source, config.init_weights)
    whole = {*HEAD_NAMES, "trunk"}
    if METHODS[theirs.strategy].local_names(whole) == whole:
        raise RunFolderError(
            f"{source.path}: cannot be the start of this run (init-from): with strategy = "
            f"{theirs.strategy} all weights stay at the clients"
        )
    keys = ["backbone", "trainable", "objective"]
    if config.objective == "clip":
        keys.append("text-encoder")  # it decides what the head's outputs mean
    ours, flat = config.to_flat(), theirs.to_flat()
    different = [
        f"{key} = {flat[key]!r}, not {ours[key]!r}" for key in keys if flat[key] != ours[key]
    ]
    if different:
        raise RunFolderError(
            f"{source.path}: cannot be the start of this run (init-from): it has "
            f"{'; '.join(different)}"
        )
