"""A client's images as features of a base that never changes: computed once, then cached.

Every image has the features of its centre view, the whole image resized as for testing. A training
image also has those of ``augmented-views`` views, cropped and flipped as in training, each fixed by
(seed, client, view). They are beside the image store, one file for all splits of a client.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from models.backbones import Backbone
from training.array_store import kept
from training.config import ExperimentConfig
from training.inference import Inputs
from training.network import features_of, move_to_device, preprocessing
from training.randomness import derive_seed
from training.release import cache_dir
from training.split import Split
from training.task import build_base


def open_feature_splits(
    config: ExperimentConfig,
    splits: Mapping[str, Split],
    *,
    fingerprint: str,
    client_index: int,
    base: str,
) -> dict[str, Split]:
    """Return a client's splits with features (n, V, width) instead of images.

    V is 1 + ``augmented-views`` in the split ``train``, otherwise 1. The trunk is built and images
    are read only if no file has the features yet; if several processes need the same file, one
    makes it and the others wait.

    Args:
        config: resolved; ``trainable`` is ``head`` or ``adapter``.
        client_index: the client's, ≥ 0.
        base: sha256 of the base that computes the features.

    Raises:
        TrainingError: the local base is a different one, or a feature is NaN or infinite.
        WeightsError: the base's pretrained weights are missing or unusable.
    """

    def compute() -> dict[str, NDArray]:
        network = move_to_device(build_base(config, base), config)
        return {name: _views(config, network, splits[name], name, client_index) for name in splits}

    path = features_path(
        config, splits, fingerprint=fingerprint, client_index=client_index, base=base
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        arrays = kept(path, path.stem, compute)
    return {name: _of_features(split, arrays[name]) for name, split in splits.items()}


def features_path(
    config: ExperimentConfig,
    splits: Mapping[str, Split],
    *,
    fingerprint: str,
    client_index: int,
    base: str,
) -> Path:
    """Return the file of a client's features, named after all that determines their bits.

    Arguments as for `open_feature_splits`; the file need not exist.
    """
    made_of = [
        *(base, config.backbone, fingerprint, config.image_size, config.input, config.precision),
        *(config.batch_size, config.device, config.threads_per_client, torch.__version__),
        (
            config.augmented_views
            and [config.augmented_views, config.augmentation, config.seed, client_index]
        ),
    ]
    digest = hashlib.sha256(json.dumps(made_of).encode())
    for name in sorted(splits):
        digest.update(f"{name} {len(splits[name])} ".encode())
        digest.update(splits[name].indices.astype("<i8").tobytes())
    return cache_dir(config) / "features" / f"{digest.hexdigest()}.safetensors"


@dataclass(frozen=True)
class _Augmented(Inputs):
    """Gives an augmented view also for evaluation."""

    inputs: Inputs
    generator: torch.Generator

    def for_training(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        return self.inputs.for_training(stored, generator)

    def for_evaluation(self, stored: Tensor) -> Tensor:
        return self.for_training(stored, self.generator)


def _views(
    config: ExperimentConfig, network: Backbone, split: Split, name: str, client_index: int
) -> NDArray[np.float32]:
    centre = preprocessing(config)
    inputs: list[Inputs] = [centre]
    for view in range(config.augmented_views if name == "train" else 0):
        seed = derive_seed(
            config.seed, round_number=0, client_index=client_index, purpose=f"view {view}"
        )
        generator = torch.Generator().manual_seed(seed)
        inputs.append(_Augmented(centre, generator))
    return np.stack([features_of(network, split, config, one) for one in inputs], axis=1)


def _of_features(split: Split, features: NDArray[np.float32]) -> Split:
    return replace(
        split,
        images=features,
        labels=split.own_labels,
        indices=np.arange(len(split)),
        patients=split.own_patients,
    )
