"""Classical heads on a run's deep features, judged on the test set beside the network itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.heads import HEADS, fit_head
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.features import Features, open_features
from training.head_settings import head_settings
from training.metrics import confusion_matrix, metric_block, patient_confusion
from training.run_folder import RunFolder
from training.split import GlobalTestSet, TrainingImages
from training.uncertainty import intervals, paired_test
from training.weights import Weights, weights_sha256

if TYPE_CHECKING:
    from models.backbones import Backbone


class HeadFigures:
    """Fits the heads of a completed run and writes their figures beside the network's.

    Args:
        config: the run's, with the heads' settings.
        folder: the run's.
        weights: of its best network.
        network: makes that network, on its device; called only where features are missing.
        training: the images it learnt from.
        test_data: the global test set.
        watch: called with what is being done, in words.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        folder: RunFolder,
        weights: Weights,
        network: "Callable[[], Backbone]",
        training: TrainingImages,
        test_data: GlobalTestSet,
        watch: Callable[[str], None],
    ) -> None:
        self.config = config
        self.folder = folder
        self.weights = weights
        self.network = network
        self.training = training
        self.test_data = test_data
        self.watch = watch

    def run(self) -> dict[str, Any]:
        """Return the figures ``heads``, which ``metrics.json`` then holds, too.

        Raises:
            HeadError: a class is absent from the training images.
            RunFolderError: the run's predictions are of other test images.
        """
        self.watch("extracting features")
        train, test = self._features("train"), self._features("test")
        probabilities = self._network_probabilities(test)
        answers = probabilities.argmax(axis=1)
        found = {"network": self._judge(test, answers, probabilities)}
        fitted = {}
        for name in HEADS:
            self.watch(f"fitting {name}")
            head = fit_head(
                name,
                train.values,
                train.labels,
                settings=head_settings(self.config),
                num_classes=len(self.training.classes),
                class_names=self.training.classes,
                groups=list(self.training.rows["lesion_id"]),
            )
            predicted, probabilities = head.predict(test.values), head.predict_proba(test.values)
            fitted[name] = (head, predicted, probabilities)
            found[name] = {
                **self._judge(test, predicted, probabilities),
                "settings": head.settings,
                "against_network": paired_test(
                    test.labels,
                    answers,
                    predicted,
                    len(self.training.classes),
                    seed=self.config.seed,
                    groups=self._patients(),
                ),
            }
        # Written together, so that figures and predictions belong to the same heads.
        for name, (head, predicted, probabilities) in fitted.items():
            head.save(self.folder.path / "heads" / f"{name}.skops")
            self._write_predictions(name, predicted, probabilities)
        self.folder.write_metrics({**self.folder.metrics(), "heads": found})
        return found

    def _features(self, name: str) -> Features:
        if name == "train":
            split, rows = self.training.split, self.training.rows
            fingerprint = self.training.fingerprint
        else:
            split, rows = self.test_data.split, self.test_data.rows
            fingerprint = self.test_data.fingerprint
        return open_features(
            self.folder.path / "features" / f"{name}.safetensors",
            self.config,
            self.network,
            split,
            list(rows["image_id"]),
            identity=f"{weights_sha256(self.weights)} {fingerprint}",
        )

    def _network_probabilities(self, test: Features) -> NDArray[np.float64]:
        """Return what the network gave the test images (n, K) when it was judged."""
        table = self.folder.predictions("global_test")
        if tuple(table["image_id"]) != test.image_ids:
            raise RunFolderError(
                f"{self.folder.path}: its predictions are of other test images than test-dir or "
                "data-dir holds now; bring those back"
            )
        return table[list(self.training.classes)].to_numpy()

    def _judge(
        self, test: Features, predicted: NDArray[np.int64], probabilities: NDArray
    ) -> dict[str, Any]:
        num_classes = len(self.training.classes)
        result = {
            **metric_block(confusion_matrix(test.labels, predicted, num_classes)),
            "intervals": intervals(
                test.labels, predicted, num_classes, seed=self.config.seed, groups=self._patients()
            ),
        }
        patients = self._patients()
        if patients is not None:
            counts = patient_confusion(probabilities.astype(np.float32), test.labels, patients)
            result["patients"] = metric_block(counts)
        return result

    def _patients(self) -> NDArray[np.int64] | None:
        split = self.test_data.split
        return None if split.patients is None else split.patients[split.indices]

    def _write_predictions(
        self, name: str, predicted: NDArray[np.int64], probabilities: NDArray
    ) -> None:
        classes = self.training.classes
        self.folder.write_predictions(
            f"heads-{name}",
            self.test_data.rows,
            probabilities.astype(np.float32),
            classes,
            by_patient=self.test_data.split.patients is not None,
            predicted=[classes[index] for index in predicted],
        )
