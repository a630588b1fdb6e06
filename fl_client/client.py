"""One client: its name, its settings and its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch

from training.config import ExperimentConfig
from training.network import base_sha256
from training.split import Split, StoredImages
from training.task import build_base


@dataclass(frozen=True)
class Client:
    """The state of a client before a message arrives."""

    name: str
    config: ExperimentConfig
    splits: Mapping[str, Split]  # its images, by ``train``, ``validation`` and ``test``
    classes: tuple[str, ...]  # K class names, in the order of the network's outputs
    folder: Path  # for its files that are kept between rounds
    rows: pd.DataFrame  # of all images of its store: ``image_id``, ``label`` and ``lesion_id``
    reference: StoredImages | None = None  # the images that every client has, for ``alignment``
    fingerprint: str = ""  # identifies its images; see ``ImageStore``
    synthetic: bool = False  # whether its images are generated
    is_site: bool = False  # whether it is a site's client, which stores the final model
    histograms: bool = True  # whether its replies hold histograms of its predicted probabilities
    # Whether it may say how many training images of each class it has.
    sends_class_counts: bool = True

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        """The device that this client computes on."""
        return torch.device(self.config.device)


# A simulation's processes work for any client, and all clients of a run have one base.
@lru_cache(maxsize=1)
def base_of(config: ExperimentConfig) -> str:
    """Return the sha256 of the base that a client of this config has.

    Raises:
        WeightsError: its pretrained weights are missing or unusable.
    """
    return base_sha256(build_base(config))
