"""The network that is exported, as one plain torch module on the CPU, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_partition.image_store import store_side
from experiments.trained_model import TrainedModel, find_model, open_network
from operation.errors import InputError
from training.config import ExperimentConfig
from training.run_model import ModelName

if TYPE_CHECKING:
    from models.backbones import Backbone
    from models.provider import BackboneSpec

NOTICE = "Research software. Not a medical device; not for diagnosis."


class ExportError(InputError, ValueError):
    """A model cannot be exported as requested."""


@dataclass(frozen=True)
class ExportedModel:
    """A trained model with its network.

    Attributes:
        network: on the CPU, in evaluation mode, with float32 weights; LoRA's updates are added to
            the weights that they change.
    """

    model: TrainedModel
    spec: BackboneSpec
    network: Backbone

    @property
    def config(self) -> ExperimentConfig:
        """The run's config."""
        return self.model.config

    def facts(self) -> dict[str, str]:
        """Return what a program needs to know to use the network, as text by name."""
        known = self.model.calibration
        facts = {
            "classes": json.dumps(list(self.model.classes)),
            "preprocessing": preprocessing_in_words(self.config),
            "backbone": self.spec.name,
            "weights_licence": weights_licence(self.config, self.spec),
            "notice": NOTICE,
            "temperature": repr(known.temperature) if known is not None else "",
            "calibration": json.dumps(known.to_block()) if known is not None else "",
            "uncalibrated": self.model.uncalibrated,
            "synthetic": self.model.synthetic or "",
        }
        return {name: text for name, text in facts.items() if text}


def open_for_export(source: Path, weights: ModelName = "best") -> ExportedModel:
    """Read a network of a run folder, or that of a site's model file.

    Raises:
        ExportError: it is a scikit-learn head.
        RunFolderError, WeightsError: it cannot be read, or arrays of it stay at the clients.
    """
    if source.suffix == ".skops":
        raise ExportError(
            f"{source}: is a head of scikit-learn on deep features, not a network; export the run, "
            "whose network gives those features"
        )
    model = find_model(source, None, weights)

    # Imported here: an error in a name is reported without waiting for torch.
    from models.registry import find_backbone

    network, config = open_network(model, "cpu")
    if config.trainable == "lora":
        from models.lora import merge_lora

        merge_lora(network.trunk)
    return ExportedModel(
        model, find_backbone(config.backbone), network.eval().requires_grad_(False)
    )


def weights_licence(config: ExperimentConfig, spec: BackboneSpec) -> str:
    """Return the terms of the weights that the training began with."""
    return spec.licence if config.pretrained else "none: they were random"


def preprocessing_in_words(config: ExperimentConfig) -> str:
    """Return how an image becomes the input, as `training.inference` does it."""
    size = config.image_size
    stored = store_side(size)
    steps = [f"the whole image resized to {stored} x {stored} pixels, then to {size} x {size}"]
    if config.keeps_aspect:
        steps = [f"the shorter side resized to {stored} pixels, the middle {size} x {size} cut out"]
    if config.corrects_light:
        steps.append("between the two the colour of the light corrected: Shades of Grey, p = 6")
    steps.append(
        "RGB / 255; resizing is bilinear and antialiased, each time rounded to whole numbers of 0 "
        "to 255"
    )
    return "; ".join(steps)
