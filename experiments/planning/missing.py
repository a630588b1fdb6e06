"""What runs lack on this machine: image folders, weights, text features."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_partition.datasets import dataset_choice, find_dataset
from models import text_encoders
from models.errors import WeightsError
from models.registry import PROVIDERS, find_backbone, locate_pretrained
from models.text_features import cached_path, prompts
from training.config import ExperimentConfig
from training.release import cache_dir


@dataclass(frozen=True)
class Missing:
    """What runs lack on this machine, one line each."""

    to_bring: tuple[str, ...]  # required; the user must provide it
    to_download: tuple[str, ...]  # downloaded by the first run, if there is a network


def find_missing(configs: Iterable[ExperimentConfig]) -> Missing:
    """Look for the data folders of configs and the weights of their backbones and text encoders."""
    to_bring: dict[str, None] = {}
    to_download: dict[str, None] = {}
    seen = set()
    for config in configs:
        if not config.data_dir:
            name = dataset_choice() if config.dataset == "auto" else config.dataset
            to_bring[f"the images of {name}: give their folder with --data NAME=DIR"] = None
        if not config.pretrained:
            continue
        found_in = to_bring if config.weights_dir else to_download
        if (config.backbone, config.weights_dir) not in seen:
            seen.add((config.backbone, config.weights_dir))
            found_in |= weights_missing(config)
        if config.objective == "clip":
            found_in |= text_missing(config)
    return Missing(tuple(to_bring), tuple(to_download))


def weights_missing(config: ExperimentConfig) -> dict[str, None]:
    """Return a line if a backbone's pretrained weights are not here."""
    spec = find_backbone(config.backbone)
    if config.weights_dir:
        try:
            locate_pretrained(config.backbone, Path(config.weights_dir))
        except WeightsError as error:
            return {str(error): None}
    elif PROVIDERS[spec.provider].find_weights(spec, None) is None:
        return {f"the weights of {config.backbone}, {spec.megabytes} MB": None}
    return {}


def text_missing(config: ExperimentConfig) -> dict[str, None]:
    """Return a line if the text tower's weights are not here; cached text features replace them."""
    dataset = None if config.dataset == "auto" else find_dataset(config.dataset)
    spec = text_encoders.find_text_encoder(config.text_encoder)
    label = text_encoders.weights_label(spec)
    if dataset is not None and dataset.classes is not None and label is not None:
        texts = prompts(dataset.names_in_words(dataset.classes))
        if cached_path(cache_dir(config), config.text_encoder, label, texts).is_file():
            return {}
    file = text_encoders.weights_file(spec)
    if config.weights_dir:
        try:
            file.locate(Path(config.weights_dir))
        except WeightsError as error:
            return {str(error): None}
    elif file.find(None) is None:
        return {f"{file.file_name} of {file.repository or spec.name}": None}
    return {}
