"""Fits classical heads on a run's deep features and evaluates them on the test set."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.fitted_head import Head
from models.head_names import HEADS
from models.heads import fit_head
from training.array_store import kept
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.head_settings import FITTED_WITH, head_settings, head_values, heads_of
from training.predictions import write_predictions
from training.run_folder import RunFolder
from training.score_counts import Answers
from training.scores import score_block
from training.split import GlobalTestSet, Split, StoredImages
from training.uncertainty import intervals, paired_test
from training.weights import Weights, weights_sha256

if TYPE_CHECKING:
    from models.backbones import Backbone


@dataclass(frozen=True)
class Features:
    """The features of some images."""

    values: NDArray[np.float32]  # (n, width) float32
    labels: NDArray[np.int64]  # (n,) int64
    image_ids: tuple[str, ...]  # n ids


def open_features(
    path: Path,
    config: ExperimentConfig,
    network: "Callable[[], Backbone]",
    split: Split,
    image_ids: Sequence[str],
    *,
    identity: str,
) -> Features:
    """Return the features of a split's images, from the file or computed and written to it.

    Whole images are used, as for testing (no crop, no flip).

    Args:
        network: makes the network, on its device; called only if features are missing, and
            only then torch is imported.
        identity: of the weights and the data set; features with another one are replaced.

    Raises:
        TrainingError: a feature is NaN or infinite.
    """
    labels = split.own_labels

    def compute() -> dict[str, NDArray]:
        from training.network import features_of

        return {"features": features_of(network(), split, config), "labels": labels}

    key = _key(config, identity, image_ids)
    arrays = kept(path, key, compute, image_ids=json.dumps(list(image_ids)))
    return Features(np.array(arrays["features"]), labels, tuple(image_ids))


def _key(config: ExperimentConfig, identity: str, image_ids: Sequence[str]) -> str:
    made_of = [
        *(identity, config.backbone, config.image_size, config.input, config.precision),
        list(image_ids),
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class HeadFigures:
    """Fits heads on the network of a completed run and writes their figures beside its own."""

    config: ExperimentConfig  # the run's, with the heads' settings
    # For heads, figures and predictions; it also has the run's metrics and predictions; locked by
    # this process.
    folder: RunFolder
    source: RunFolder  # the run's own folder, which has the features; it may be ``folder``
    weights: Weights
    # Makes that network, on its device; called only if features are missing.
    network: "Callable[[], Backbone]"
    training: StoredImages  # the images it was trained on
    test_data: GlobalTestSet
    watch: Callable[[str], None]  # called with a description of the current step

    def run(self) -> dict[str, Any]:
        """Return the figures ``heads``, and write them to ``metrics.json``.

        Raises:
            HeadError: a class is absent from the training images.
            RunFolderError: the run's predictions are of other test images.
        """
        self.watch("extracting features")
        with ExitStack() as stack:
            if self.source is not self.folder:
                # Locked only here, so that other heads of this run can be fitted at the same time.
                stack.enter_context(self.source.lock(timeout=-1))
            train = self._features("train", self.training)
            test = self._features("test", self.test_data)
        found, answers = {}, None
        if "global_test" in self.folder.metrics():  # not if the network's own head is each client's
            probabilities = self._network_probabilities(test)
            answers = probabilities.argmax(axis=1)
            found["network"] = self._judge(test, answers, probabilities)
        fitted = {}
        for name in heads_of(self.config):
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
            }
            if answers is not None:
                found[name]["against_network"] = paired_test(
                    test.labels,
                    answers,
                    predicted,
                    len(self.training.classes),
                    seed=self.config.seed,
                    groups=self.test_data.split.own_patients,
                )
        self._write(found, fitted)
        return found

    def _write(
        self, found: dict[str, Any], fitted: dict[str, tuple[Head, NDArray[np.int64], NDArray]]
    ) -> None:
        """Write everything; a kill in between leaves no figures, never those of other heads."""
        rest = {k: v for k, v in self.folder.metrics().items() if k not in ("heads", FITTED_WITH)}
        self.folder.write_metrics(rest)
        classes = self.training.classes
        for name in HEADS:
            path = self.folder.path / "heads" / f"{name}.skops"
            predictions = self.folder.predictions_path(f"heads-{name}")
            if name in fitted:
                head, predicted, probabilities = fitted[name]
                head.save(path)
                write_predictions(
                    predictions,
                    self.test_data.rows,
                    probabilities.astype(np.float32),
                    classes,
                    by_patient=self.test_data.split.patients is not None,
                    predicted=[classes[index] for index in predicted],
                )
            else:
                path.unlink(missing_ok=True)
                predictions.unlink(missing_ok=True)
        self.folder.write_metrics({**rest, "heads": found, FITTED_WITH: head_values(self.config)})

    def _features(self, name: str, images: StoredImages) -> Features:
        return open_features(
            self.source.path / "features" / f"{name}.safetensors",
            self.config,
            self.network,
            images.split,
            list(images.rows["image_id"]),
            identity=f"{weights_sha256(self.weights)} {images.fingerprint}",
        )

    def _network_probabilities(self, test: Features) -> NDArray[np.float64]:
        """Return the network's probabilities (n, K) from its evaluation on the test images."""
        table = self.folder.predictions("global_test")
        if tuple(table["image_id"]) != test.image_ids:
            raise RunFolderError(
                f"{self.folder.path}: its predictions are of other test images than test-dir or "
                "data-dir holds now; restore those images"
            )
        return table[list(self.training.classes)].to_numpy()

    def _judge(
        self, test: Features, predicted: NDArray[np.int64], probabilities: NDArray
    ) -> dict[str, Any]:
        answers = Answers(probabilities.astype(np.float32), test.labels, predicted)
        patients = self.test_data.split.own_patients
        result = {
            **score_block(answers.counts()),
            "intervals": intervals(
                test.labels,
                predicted,
                len(self.training.classes),
                seed=self.config.seed,
                groups=patients,
            ),
        }
        if patients is not None:
            result["patients"] = score_block(answers.by_patient(patients).counts())
        return result
