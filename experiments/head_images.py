"""The images that heads are fitted to and evaluated on."""

from dataclasses import dataclass

from experiments.console import Console
from experiments.display import counting
from models.errors import HeadError
from training.config import ExperimentConfig
from training.errors import ConfigError, RunFolderError
from training.experiment_data import open_test_data, training_images
from training.run_folder import RunFolder
from training.split import GlobalTestSet, TrainingImages


@dataclass(frozen=True)
class HeadImages:
    """The images that heads are fitted to (their network's training images) and evaluated on."""

    training: TrainingImages
    test_data: GlobalTestSet

    def check_same(self, source: RunFolder) -> None:
        """Refuse other images than those that a network was trained and evaluated on.

        Raises:
            RunFolderError: names the images to restore.
        """
        source.check_same_data(self.training.fingerprint)
        if self.test_data.fingerprint != source.manifest()["data"]["test_fingerprint"]:
            raise RunFolderError(
                f"{source.path}: data-dir or test-dir holds other test images than the run was "
                "evaluated on; restore those"
            )


def open_head_images(console: Console, config: ExperimentConfig, *, federated: bool) -> HeadImages:
    """Open the images; refuse unusable ones before a network is trained."""
    with counting(console, "Reading the images") as progress:
        test_data = open_test_data(config, progress)
    if test_data is None:
        raise ConfigError("test-dir = '': heads are evaluated on a test set, and there is none")
    training = training_images(config, federated=federated)
    for kind, rows in (("training", training.rows), ("test", test_data.rows)):
        present = set(rows["label"])
        absent = [name for name in training.classes if name not in present]
        if absent:
            raise HeadError(
                f"no {kind} image is of class {', '.join(absent)}; heads need {kind} images of "
                "every class: try another seed or more images"
            )
    return HeadImages(training, test_data)
