"""Fitted heads: their predictions, and their files."""

import tokenize
import warnings
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline

from models.errors import HeadError, first_line
from operation.files import replacing

_LAYOUT = "fedskin head 1"

_OFF = 1e-30  # a feature closer to 0 is off

# Types in heads beyond those that skops trusts: arrays, and scikit-learn's public models.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree",
)

# Errors that zipfile, json, skops and NumPy raise for damaged files; tested with thousands of them.
# skops also raises TypeError for types that are not trusted.
_UNSOUND = (
    zipfile.BadZipFile,
    tokenize.TokenError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def write_head_file(path: Path, parts: dict[str, Any]) -> None:
    """Write a head's parts by name, atomically.

    Raises:
        HeadError: the file cannot be written.
    """
    import skops.io  # here, because it imports torch

    try:
        with replacing(path) as temporary:
            skops.io.dump({"layout": _LAYOUT, **parts}, temporary)
    except OSError as error:
        raise HeadError(f"{path} cannot be written ({error.strerror})") from error


def read_head_file(path: Path, names: Collection[str]) -> dict[str, Any]:
    """Read a file of `write_head_file`, which must have parts of these names.

    Nothing in the file is executed, and only objects of types that are in ``TRUSTED`` or trusted
    by skops are created. Whether the numbers in a model make sense is not checked: use only heads
    from sources you trust.

    Raises:
        HeadError: the file is unreadable, not a head, or from another scikit-learn version.
    """
    import skops.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            parts = skops.io.load(path, trusted=list(TRUSTED))
        if not isinstance(parts, dict) or parts.pop("layout", None) != _LAYOUT:
            raise ValueError("it is not marked as a head")
        if parts.keys() != set(names):
            raise ValueError(f"it has the parts {', '.join(parts)}")
    except OSError as error:
        raise HeadError(f"{path} cannot be read ({error.strerror})") from error
    except InconsistentVersionWarning as warning:
        raise HeadError(
            f"{path} was written by scikit-learn {warning.original_sklearn_version}, and this is "
            f"{warning.current_sklearn_version}; fit the head again"
        ) from warning
    except _UNSOUND as error:
        raise HeadError(
            f"{path} is not a valid file of a head ({first_line(error)}); delete it and fit the "
            "head again"
        ) from error
    return parts


@dataclass(frozen=True)
class Head:
    """A fitted head."""

    name: str  # ``knn``, ``svm`` or ``rf``
    num_classes: int
    settings: dict[str, Any]  # the hyper-parameters it was fitted with, by scikit-learn's names
    pipeline: Pipeline  # scales features, unless the scaler is ``none``, and classifies them
    # Gives the SVM's probabilities; None for heads that have their own.
    calibrated: CalibratedClassifierCV | None

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the class of each image.

        KNN: the class with most votes, the first on a tie. SVM: the class that wins most of the
        one-against-one decisions, which may differ from the most probable class.

        Args:
            features: (m, F), with the width that the head was fitted on.

        Returns:
            (m,) classes in [0, K).

        Raises:
            HeadError: the features are of another width, or not all are finite.
        """
        features = self._check(features)
        if not len(features):
            return np.empty(0, dtype=np.int64)
        return self._ask(self.pipeline.predict, features)

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of each class for each image.

        KNN: the share of the votes. Forest: the mean over the trees. SVM: a sigmoid for each class
        (Platt), fitted to training images held out from the machine, and scaled to sum to 1.

        Returns:
            (m, K), rows that sum to 1; zero for classes that were absent from training.

        Raises:
            HeadError: the features are of another width, or not all are finite.
        """
        features = self._check(features)
        probabilities = np.zeros((len(features), self.num_classes))
        if len(features):
            model = self.calibrated or self.pipeline
            probabilities[:, model.classes_] = self._ask(model.predict_proba, features)
        return probabilities

    def save(self, path: Path) -> None:
        """Write the head to one file, atomically.

        Raises:
            HeadError: the file cannot be written.
        """
        write_head_file(path, vars(self))

    @staticmethod
    def load(path: Path) -> "Head":
        """Read a file of `save`; `models.fitted_head.read_head_file` says what is trusted.

        Raises:
            HeadError: the file is unreadable, not a head, or from another scikit-learn version.
        """
        return Head(**read_head_file(path, [field.name for field in fields(Head)]))

    def _ask(
        self, ask: Callable[[NDArray[np.float32]], NDArray], features: NDArray[np.float32]
    ) -> NDArray:
        if self.name != "svm":
            return ask(features)
        # Of the three heads only libsvm uses one core; it predicts row by row.
        pieces = np.array_split(features, min(cpu_count(), len(features)))
        answers = Parallel(n_jobs=-1, prefer="threads")(delayed(ask)(piece) for piece in pieces)
        return np.concatenate(answers)

    def _check(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        features = check_features(features)
        width = self.pipeline.n_features_in_
        if features.shape[1] != width:
            raise HeadError(
                f"features of width {features.shape[1]}, but the head was fitted on {width}; use "
                "the backbone that it was fitted with"
            )
        return features


def check_features(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features (n, F) as contiguous float32, which KNN's fast search needs.

    Values closer to 0 than 10⁻³⁰, what SiLU leaves of a feature that is off, are 0: a feature that
    has only such ones in training would be scaled by 10³⁰ and more, beyond float32.

    Raises:
        HeadError: not all are finite.
    """
    features = np.ascontiguousarray(features, dtype=np.float32)
    if features.ndim != 2:
        raise ValueError(f"expected features of shape (n, F), not {features.shape}")
    num_bad = int((~np.isfinite(features).all(axis=1)).sum())
    if num_bad:
        raise HeadError(
            f"the features of {num_bad} of {len(features)} images are not all finite numbers; "
            "the network's weights have diverged"
        )
    off = (np.abs(features) < _OFF) & (features != 0)
    return np.where(off, np.float32(0), features) if off.any() else features
