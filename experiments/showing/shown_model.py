"""What the page shows: a trained model, its figures, and its answer to one image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from data_partition.datasets import find_dataset
from data_partition.decode import rgb_image
from data_partition.image_store import store_side
from experiments.exporting.exported_model import ExportedModel
from experiments.exporting.model_card import model_card
from experiments.heat_pictures import LARGEST_SIDE, heat_picture, reduced
from experiments.prediction_certainty import as_json, with_sets
from experiments.reporting.run_results import read_run_results
from experiments.run_faults import faults_told
from experiments.trained_model import Classifier, HeadName, TrainedModel, find_model
from models.registry import find_backbone
from operation.errors import OperationError
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.errors import TrainingError
from training.release import photographs
from training.run_model import WORDS, ModelName

NEAREST = 3
"""Figures are of so many classes: the predicted one, and those with the highest probabilities."""

_IMAGE = "the image"  # in messages: its name stays in the browser


@dataclass(frozen=True)
class ClassFigures:
    """How a model did on the test images.

    Attributes:
        where: which images these are.
        confusion: counts (K, K), true classes in rows.
    """

    where: str
    confusion: np.ndarray

    def of_class(self, index: int) -> dict[str, Any]:
        """Return a class's recall and precision in percent, None for 0 / 0, and image count."""
        found = int(self.confusion[index, index])
        images, said = (int(self.confusion.sum(axis=axis)[index]) for axis in (1, 0))
        return {
            "recall": 100 * found / images if images else None,
            "precision": 100 * found / said if said else None,
            "images": images,
        }


@dataclass(frozen=True)
class ShownModel:
    """A trained model in memory.

    Attributes:
        name: of the run folder or the file.
        which: what it is of the run, in a sentence; empty for a model file.
        figures: None if there are none.
        card: the model card as Markdown; None for a model file, and for others than a run's best.
    """

    name: str
    which: str
    model: TrainedModel
    classify: Classifier
    words: tuple[str, ...]  # what the classes are called in full
    figures: ClassFigures | None
    card: str | None

    def answer(self, data: bytes) -> dict[str, Any]:
        """Return all that the page shows of one image.

        Args:
            data: an image file.

        Raises:
            DataError: it is no readable photograph, or too large.
        """
        config, classes = self.model.config, self.model.classes
        pixels = photographs(config).pixels(data, _IMAGE, store_side(config.image_size))[None]
        probabilities, chosen = self.classify(pixels)
        row = pd.DataFrame(probabilities, columns=list(classes))
        row.insert(0, "predicted", [classes[chosen[0]]])
        row.insert(0, "image", "")
        if self.model.calibration is not None:
            row = with_sets(row, classes, self.model.calibration)
        entry = as_json(row, classes)[0]
        # A head's prediction need not be its most probable class.
        order = sorted(range(len(classes)), key=lambda k: (k != chosen[0], -probabilities[0, k]))
        photo = reduced(rgb_image(data, _IMAGE, reduce_to=LARGEST_SIDE))
        return {
            "predicted": entry["predicted"],
            "set": entry.get("set"),
            "set_by_class": entry.get("set_by_class"),
            "always_inside": {}
            if self.model.calibration is None
            else self.model.calibration.always_inside(classes),
            "classes": [
                {
                    "name": classes[k],
                    "words": self.words[k],
                    "probability": entry["probabilities"][classes[k]],
                    "calibrated": entry.get("calibrated", {}).get(classes[k]),
                }
                for k in order
            ],
            "figures": [{"name": classes[k], **self.figures.of_class(k)} for k in order[:NEAREST]]
            if self.figures is not None
            else [],
            "photo": _as_uri(photo),
            **self._heat_map(pixels, chosen, photo),
        }

    def _heat_map(
        self, pixels: np.ndarray, chosen: np.ndarray, photo: Image.Image
    ) -> dict[str, str | None]:
        try:
            heat = self.classify.heat_maps(pixels, chosen)[0]
        except TrainingError as error:
            return {"heat_map": None, "no_heat_map": str(error)}
        return {"heat_map": _as_uri(heat_picture(photo, heat, self.model.config))}


def open_shown(source: Path, head: HeadName | None, weights: ModelName = "best") -> ShownModel:
    """Read a trained model and what is known of it.

    Args:
        source: run folder or model file.
        head: of `fedskin heads`, instead of the network's own.
        weights: which of the run's models.

    Raises:
        OperationError: it classifies slices of volumes.
        RunFolderError, WeightsError, HeadError: it cannot be read.
    """
    model = find_model(source, head, weights)
    config = model.config
    dataset = find_dataset(config.dataset) if config.dataset != "auto" else None
    if dataset is not None and dataset.sliced:
        raise OperationError(
            f"{source}: classifies slices of volumes, and the page takes photographs; use  "
            f"fedskin predict {source} CASE"
        )
    words = model.classes if dataset is None else dataset.names_in_words(model.classes)
    classify = Classifier(model)
    figures = card = None
    which = ""
    if source.is_dir():
        which = f"The run's {WORDS[weights]} model"
        if head is not None:
            which = f"{head.upper()} on the features of the run's best model"
        run = read_run_results(source)
        with faults_told(source):
            exported = ExportedModel(model, find_backbone(config.backbone), classify.network)
            if weights == "best":
                figures, card = _figures(run.metrics, config, head), model_card(run, exported, {})
            else:
                figures = _figures(run.metrics[weights], config, None)
    return ShownModel(source.name, which, model, classify, tuple(words), figures, card)


def _figures(
    metrics: Mapping[str, Any], config: ExperimentConfig, head: HeadName | None
) -> ClassFigures | None:
    if head is not None:
        block = metrics.get("heads", {}).get(head)
        return None if block is None else _counted("the test set", block)
    if "global_test" in metrics:
        return _counted("the global test set", metrics["global_test"])
    if METHODS[config.strategy].has_own_models:  # what is shown is the shared one
        metrics = metrics.get("shared", {})
    block = metrics.get("client_test", {})
    return _counted("the clients' test splits, pooled", block) if block.get("n") else None


def _counted(where: str, block: Mapping[str, Any]) -> ClassFigures:
    return ClassFigures(where, np.array(block["confusion"]))


def _as_uri(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
