"""A trained model that can classify: from a run folder, or from a file exported from one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.registry import find
from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import RunFolderError
from training.head_run import best_weights, network_run
from training.model_file import ModelFile
from training.run_folder import RunFolder
from training.text import Text, as_text, text_of_run

HeadName = Literal["knn", "svm", "rf"]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model.

    Attributes:
        config: the run's, resolved.
        classes: K names.
        synthetic: whether it was trained on synthetic images.
        load: reads the weights, and for objective ``clip`` the text features.
        base: sha256 of the base that the weights need, None if they are complete.
        head: file of the head to use instead of the network's own, if any.
    """

    config: ExperimentConfig
    classes: tuple[str, ...]
    synthetic: bool
    load: Callable[[], tuple[Mapping[str, NDArray], Text | None]]
    base: str | None = None
    head: Path | None = None


def find_model(source: Path, head: HeadName | None) -> TrainedModel:
    """Find the best model of a run folder, or that of a file; a folder's weights are not read yet.

    Args:
        source: the folder or the file.
        head: of `fedskin heads`, to use instead of the network's own.

    Raises:
        RunFolderError: the run is not completed, the head is missing, or the file is not a model.
    """
    if source.is_file():
        if head is not None:
            raise RunFolderError(f"--head {head}: {source} holds no heads; give a run folder")
        file = ModelFile.load(source)
        return TrainedModel(
            file.config, file.classes, file.synthetic, lambda: (file.weights, file.text)
        )
    folder = RunFolder(source)
    config = folder.config()
    manifest = folder.manifest()
    if manifest.get("status") != "completed":
        raise RunFolderError(f"{folder.path}: the run is not completed; finish it with --resume")
    run = network_run(folder)
    path = folder.path / "heads" / f"{head}.skops"
    if head is not None and not path.is_file():
        raise RunFolderError(f"{path}: is missing; make it with  fedskin heads --from {run.path}")
    classes = tuple(manifest["data"]["classes"])
    return TrainedModel(
        config,
        classes,
        manifest["data"]["synthetic"],
        lambda: (best_weights(folder, run), as_text(text_of_run(config, run, classes))),
        run.manifest().get("base_sha256"),
        None if head is None else path,
    )


def classify(
    model: TrainedModel, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Classify images, preprocessed like the test images of the model's run.

    Args:
        model: the model, or a head on its features.
        pixels: (N, S, S, 3), where S is the image store's side.

    Returns:
        Probabilities (N, K) and predicted classes (N,). A head may predict another class than its
        most probable one; see docs/heads.md.
    """
    # Imported here: an error in a name is reported without waiting for torch.
    from models.fitted_head import Head
    from training.inference import extract_features, predict
    from training.network import preprocessing, restore_network

    # The run's device need not exist on this machine.
    here = model.config.replace(device=resolve_device("auto"), precision="float32")
    weights, text = model.load()
    network = restore_network(here, len(model.classes), weights, text, base=model.base)
    everything = np.arange(len(pixels))
    if model.head is None:
        probabilities = np.exp(
            predict(
                network,
                pixels,
                everything,
                num_classes=len(model.classes),
                batch_size=here.batch_size,
                preprocessing=preprocessing(here),
            )
        )
        return probabilities, probabilities.argmax(axis=1)
    features = extract_features(
        network,
        pixels,
        everything,
        width=find(here.backbone).width,
        batch_size=here.batch_size,
        preprocessing=preprocessing(here),
    )
    fitted = Head.load(model.head)
    return fitted.predict_proba(features), fitted.predict(features)
