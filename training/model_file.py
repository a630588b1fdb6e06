"""One file with everything needed to classify images: a network's weights, config and text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from data_partition.datasets import find_dataset
from operation.files import parse_json, parse_toml, replacing
from training.clip_text import ClipText
from training.config import DEFAULTS, ExperimentConfig, parse
from training.errors import ConfigError, RunFolderError
from training.extension_points import names_of_others
from training.weights import Weights

TEXT_FEATURES = "text.features"


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file."""

    config: ExperimentConfig  # of the run, without paths; its device need not exist here
    classes: tuple[str, ...]  # K names, in the order of the network's outputs
    weights: Mapping[str, NDArray]
    text: ClipText | None  # the text features of objective ``clip``, otherwise None
    run: str  # id of the weights' run, 32 hex digits
    round: int
    synthetic: bool  # whether the network was trained on synthetic images

    def save(self, path: Path) -> None:
        """Write the file, atomically. Needs memory for one copy of the weights.

        What packages did for training only is not needed to classify, nor named in the file.
        """
        metadata = {
            "config": _for_prediction(self.config).to_toml(),
            "classes": json.dumps(self.classes),
            "run": self.run,
            "round": str(self.round),
            "synthetic": json.dumps(self.synthetic),
        }
        tensors = {name: np.asarray(array, order="C") for name, array in self.weights.items()}
        if self.text is not None:
            tensors[TEXT_FEATURES] = np.asarray(self.text.features, order="C")
            metadata["logit-scale"] = repr(self.text.logit_scale)
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: Path) -> "ModelFile":
        """Read a model file.

        Raises:
            RunFolderError: the file is missing, damaged, or not a model file.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                names = list(file.keys())
                weights: Weights = {name: file.get_tensor(name) for name in names}
            text = None
            if TEXT_FEATURES in weights:
                text = ClipText(weights.pop(TEXT_FEATURES), float(metadata["logit-scale"]))
            return cls(
                config=parse(parse_toml(metadata["config"])),
                classes=tuple(parse_json(metadata["classes"])),
                weights=weights,
                text=text,
                run=metadata["run"],
                round=int(metadata["round"]),
                synthetic=bool(parse_json(metadata["synthetic"])),
            )
        except ConfigError as error:
            line = str(error).splitlines()[0]
            raise RunFolderError(
                f"{path}: is not a model file of this version, or needs a plug-in: {line}"
            ) from None
        except (OSError, SafetensorError) as error:
            raise RunFolderError(f"{path}: this model cannot be read ({error})") from None
        except (KeyError, TypeError, ValueError):
            raise RunFolderError(
                f"{path}: is not a model file of this version; a site writes model.safetensors"
            ) from None


def _for_prediction(config: ExperimentConfig) -> ExperimentConfig:
    left_out = names_of_others(config.to_flat()).keys() - {"backbone"}
    # A package's volumes can be read by the package only.
    if "dataset" in left_out and find_dataset(config.dataset).load_unlabelled is not None:
        left_out -= {"dataset"}
    return config.replace(**{key: DEFAULTS[key] for key in left_out})
