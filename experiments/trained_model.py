"""A trained model that can classify: from a run folder, or from a file exported from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.registry import find_backbone
from training.calibration import Calibration
from training.clip_text import ClipText, as_text, text_of_run
from training.config import ExperimentConfig
from training.data_description import synthetic_claims
from training.device import resolve_device
from training.errors import RunFolderError, TrainingError
from training.head_run import network_run, network_weights
from training.model_file import ModelFile
from training.run_folder import RunFolder
from training.run_model import ModelName, check_has

if TYPE_CHECKING:
    from models.backbones import Backbone
    from models.fitted_head import Head
    from training.heat_maps import HeatMaps

_SYNTHETIC = "The model was trained on SYNTHETIC images: its predictions mean nothing"

HeadName = Literal["knn", "svm", "rf"]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model."""

    config: ExperimentConfig  # the run's, resolved
    classes: tuple[str, ...]  # K names
    # What is to be said of synthetic images that it was trained on, if anything.
    synthetic: str | None
    # Reads the weights, and for objective ``clip`` the text features.
    load: Callable[[], tuple[Mapping[str, NDArray], ClipText | None]]
    base: str | None = None  # sha256 of the base that the weights need, None if they are complete
    head: Path | None = None  # file of the head to use instead of the network's own, if any
    calibration: Calibration | None = None
    uncalibrated: str = ""  # why there is no calibration


def find_model(source: Path, head: HeadName | None, weights: ModelName = "best") -> TrainedModel:
    """Find a model of a run folder, or that of a file; a folder's weights are not read yet.

    Args:
        source: the folder or the file.
        head: of `fedskin heads`, to use instead of the network's own.
        weights: which of the run's models.

    Raises:
        RunFolderError: the run is not completed, the model or the head is missing, or the file is
            not a model.
    """
    if source.is_file():
        if head is not None:
            raise RunFolderError(f"--head {head}: {source} holds no heads; give a run folder")
        if weights != "best":
            raise RunFolderError(
                f"--weights {weights}: {source} holds one model; give a run folder"
            )
        file = ModelFile.load(source)
        said = _SYNTHETIC if file.synthetic else None
        return TrainedModel(
            file.config,
            file.classes,
            said,
            lambda: (file.weights, file.text),
            uncalibrated="a model file has no calibration, which only the coordinator's run has",
        )
    folder = RunFolder(source)
    config = folder.config()
    folder.check_completed()
    manifest = folder.manifest()
    run = network_run(folder)
    check_has(run, weights)
    if head is not None and weights != "best":
        raise RunFolderError(f"--weights {weights}: heads are fitted on the best model's features")
    path = None if head is None else folder.path / "heads" / f"{head}.skops"
    if path is not None and not path.is_file():
        assert head is not None
        raise RunFolderError(f"{path}: is missing; {_makes_head(head, folder, run, config)}")
    data = folder.data()
    classes = tuple(data["classes"])
    return TrainedModel(
        config,
        classes,
        _SYNTHETIC if data["synthetic"] else synthetic_claims(manifest),
        lambda: (
            network_weights(folder, run, weights, features=path is not None),
            as_text(text_of_run(config, run, classes)),
        ),
        run.manifest().get("base_sha256"),
        path,
        *_calibration(folder, len(classes), head, weights),
    )


def _makes_head(head: HeadName, folder: RunFolder, run: RunFolder, config: ExperimentConfig) -> str:
    """Return how to make a head that a folder lacks; ``run`` has the network."""
    call = f"fedskin heads --from {run.path}"
    if run is not folder:  # whose heads are fitted once
        return f"make it in another folder with  {call} -c heads={head} --out DIR  and name DIR"
    names = config.heads.split(",")
    return f"make it with  {call}{'' if head in names else f' -c heads={config.heads},{head}'}"


def _calibration(
    folder: RunFolder, num_classes: int, head: HeadName | None, weights: ModelName
) -> tuple[Calibration | None, str]:
    """Return the calibration of a run's network, or None and why there is none."""
    if head is not None:
        return None, "heads are not calibrated"
    if weights == "last":
        return None, "the last model has no calibration, which only the best and the averaged have"
    metrics = folder.metrics()
    block = (metrics["ema"] if weights == "ema" else metrics).get("calibration")
    if block is None:
        return None, "the run was made before there were calibrations"
    try:
        found = Calibration.of_block(block, num_classes)
    except RunFolderError as error:
        raise RunFolderError(f"{folder.path / 'metrics.json'}: {error}") from None
    if found.own:
        return None, "the run's calibration is of the clients' own models"
    return found, ""


def open_network(
    model: TrainedModel, device: Literal["auto", "cpu"] = "auto"
) -> tuple[Backbone, ExperimentConfig]:
    """Return the network on this machine's device, and the config as it is computed with here.

    Args:
        device: ``auto`` for the fastest of this machine.

    Raises:
        RunFolderError, WeightsError: its weights cannot be read, or need another base.
    """
    from training.task import Task

    # The run's device need not exist on this machine.
    here = model.config.replace(device=resolve_device(device), precision="float32")
    weights, text = model.load()
    return Task(here, len(model.classes), text, model.base).restore(weights), here


class Classifier:
    """A trained model with its network in memory, which classifies images and explains answers.

    Images are pixels (N, S, S, 3), where S is the image store's side; they are preprocessed like
    the run's test images.

    Attributes:
        network: on this machine's device.

    Args:
        model: the model, or a head on its features; its weights are read here.

    Raises:
        RunFolderError, WeightsError, HeadError: they cannot be read, or need another base.
    """

    def __init__(self, model: TrainedModel) -> None:
        # Imported here: an error in a name is reported without waiting for torch.
        from training.network import preprocessing

        self._model = model
        self.network, self._config = open_network(model)
        self._inputs = preprocessing(self._config)
        self._head: Head | None = None
        if model.head is not None:
            from models.fitted_head import Head  # scikit-learn takes as long as torch

            self._head = Head.load(model.head)

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return probabilities (N, K) and predictions (N,).

        A head's prediction need not be its most probable class, see docs/heads.md.
        """
        from training.inference import extract_features, predict

        everything = np.arange(len(pixels))
        common: dict[str, Any] = {
            "batch_size": self._config.batch_size,
            "preprocessing": self._inputs,
        }
        if self._head is None:
            num_classes = len(self._model.classes)
            logarithms = predict(
                self.network, pixels, everything, num_classes=num_classes, **common
            )
            probabilities = np.exp(logarithms)
            return probabilities, probabilities.argmax(axis=1)
        width = find_backbone(self._config.backbone).width
        features = extract_features(self.network, pixels, everything, width=width, **common)
        return self._head.predict_proba(features), self._head.predict(features)

    @cached_property
    def heat_maps(self) -> HeatMaps:
        """What makes heat maps of the network's answers.

        Raises:
            TrainingError: the model is a head, its network has no heat maps, or captum is not
                installed.
        """
        if self._model.head is not None:
            raise TrainingError("a head of scikit-learn has no heat maps: its network has")
        if find_spec("captum") is None:
            raise TrainingError(
                "heat maps: the extra 'explain' is not installed; in the checkout: "
                "pip install -c constraints.txt -e '.[explain]'"
            )
        from training.heat_maps import HeatMaps

        return HeatMaps(self.network, self._config)
