"""Warm start: the first weights of a run are those of another, finished run.

torch is imported only to load them: that the run can be used is checked before anything is built.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.config_faults import HEAD_NAMES, all_stays
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.run_model import WORDS, check_has, read_model
from training.weights import weights_sha256

if TYPE_CHECKING:
    from models.backbones import Backbone


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
    if all_stays(METHODS[theirs.strategy]):
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


def start_from(
    network: "Backbone", config: ExperimentConfig, classes: Sequence[str]
) -> dict[str, Any] | None:
    """Load weights of the run that ``init-from`` names into a new network, on the CPU.

    The head stays as it is if that run has other classes.

    Args:
        classes: in the order of the network's outputs.

    Returns:
        The manifest's entry ``init_from``; None without ``init-from``.

    Raises:
        RunFolderError: as `check_source`, or its weights do not fit.
    """
    if not config.init_from:
        return None
    import torch

    from training.network import as_tensors, base_sha256

    source = RunFolder(Path(config.init_from))
    check_source(config)
    manifest = source.manifest()
    if config.trainable != "all" and manifest.get("base_sha256") != base_sha256(network):
        raise RunFolderError(
            f"{source.path}: the base of its network is not this run's; use the same pretrained "
            "weights and versions, or train the whole network (trainable = all)"
        )
    number, weights = read_model(source, config.init_weights)
    before = tuple(source.data()["classes"])
    new_head = config.objective == "classifier" and before != tuple(classes)
    taken = as_tensors(weights)
    own = network.sent_part()
    if new_head:
        for name in HEAD_NAMES:
            taken.pop(name, None)
            own.pop(name)
    shapes, theirs = ({n: tuple(t.shape) for n, t in part.items()} for part in (own, taken))
    for name in {**shapes, **theirs}:
        if shapes.get(name) != theirs.get(name):
            raise RunFolderError(
                f"{source.path}: its weights do not fit {config.backbone} at image-size = "
                f"{config.image_size}: {name} is {theirs.get(name)}, not {shapes.get(name)}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(taken[name])
    return {
        "run": str(source.path),
        "round": number,
        "model": config.init_weights,
        "weights_sha256": weights_sha256(weights),
        "new_head": new_head,
        "classes": len(before),
    }


def note_on_start(manifest: Mapping[str, Any]) -> list[str]:
    """Return what a run began with, if that was another run's weights, as a line for people."""
    start = manifest.get("init_from")
    if start is None:
        return []
    which = WORDS[start.get("model", "best")]
    said = f"the first weights are the {which} ones of {start['run']} (its round {start['round']})"
    if start["new_head"]:
        said += f"; the head starts anew, since that run has other classes ({start['classes']})"
    return [said]
