"""Warm start: the first weights of a run are those of another, finished run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from models.backbones import Backbone
from training.config import HEAD_NAMES, ExperimentConfig
from training.errors import RunFolderError
from training.network import as_tensors, base_sha256
from training.run_folder import RunFolder
from training.run_model import WORDS, read_model
from training.warm_start_source import check_source
from training.weights import weights_sha256


def start_from(
    network: Backbone, config: ExperimentConfig, classes: Sequence[str]
) -> dict[str, Any] | None:
    """Load weights of the run that ``init-from`` names into a new network, on the CPU.

    The head stays as it is if that run has other classes.

    Args:
        classes: in the order of the network's outputs.

    Returns:
        The manifest's entry ``init_from``; None without ``init-from``.

    Raises:
        RunFolderError: the run is unfinished or of another kind, or its weights do not fit.
    """
    if not config.init_from:
        return None
    source = RunFolder(Path(config.init_from))
    check_source(config)
    manifest = source.manifest()
    if config.trainable != "all" and manifest["base_sha256"] != base_sha256(network):
        raise RunFolderError(
            f"{source.path}: the base of its network is not this run's; use the same pretrained "
            "weights and versions, or train the whole network (trainable = all)"
        )
    number, weights = read_model(source, config.init_weights)
    before = tuple(manifest["data"]["classes"])
    new_head = config.objective == "classifier" and before != tuple(classes)
    taken = as_tensors(weights)
    own = network.sent_part()
    if new_head:
        for name in HEAD_NAMES:
            taken.pop(name, None)
            own.pop(name)
    _check_shapes(source.path, config, own, taken)
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


def _check_shapes(
    path: Path,
    config: ExperimentConfig,
    own: Mapping[str, torch.Tensor],
    taken: Mapping[str, torch.Tensor],
) -> None:
    shapes, theirs = ({n: tuple(t.shape) for n, t in part.items()} for part in (own, taken))
    for name in {**shapes, **theirs}:
        if shapes.get(name) != theirs.get(name):
            raise RunFolderError(
                f"{path}: its weights do not fit {config.backbone} at image-size = "
                f"{config.image_size}: {name} is {theirs.get(name)}, not {shapes.get(name)}"
            )
