"""Classical heads on deep features: nearest neighbours, support vectors, a random forest.

Every head is a scikit-learn pipeline: a scaler, then a classifier.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from joblib import parallel_config
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from models.errors import HeadError
from models.fitted_head import Head, check_features
from models.head_names import HEADS

MOST_FOLDS = 5

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def folds(
    labels: NDArray[np.int64], groups: Sequence[str | None] | None, *, seed: int
) -> list[Fold]:
    """Split images into five folds, each class spread evenly over them.

    There are fewer folds if no class has five images, or if there are fewer than five groups. If
    all images of a class are in one fold, they also stay in that fold's training part, so that
    every training part has every class: these images are then predicted by a model that has seen
    them.

    Args:
        labels: (n,) classes, n ≥ 1.
        groups: the images' lesions or patients, each kept in one fold; an image with None is its
            own group. None: every image is its own group.
        seed: of the assignment of images to folds, in [0, 2^32).

    Returns:
        (training rows, held-out rows) of each fold; every row is held out exactly once.
    """
    rows = np.arange(len(labels))
    units = None if groups is None else _number(groups)
    num_units = len(labels) if units is None else len(np.unique(units))
    number = min(MOST_FOLDS, int(np.bincount(labels).max()), num_units)
    if number < 2:
        return [(rows, rows)]
    splitter = (StratifiedKFold if units is None else StratifiedGroupKFold)(
        number, shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        dealt = [held_out for _, held_out in splitter.split(rows, labels, units)]
    return [(_training_rows(labels, held_out), held_out) for held_out in dealt if len(held_out)]


def _number(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Return a number for each image, equal within a group."""
    numbers: dict[str | int, int] = {}
    # A missing lesion may also be NaN in a table.
    keys = (group if isinstance(group, str) else row for row, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _training_rows(labels: NDArray[np.int64], held_out: NDArray[np.int64]) -> NDArray[np.int64]:
    others = np.ones(len(labels), dtype=bool)
    others[held_out] = False
    return np.flatnonzero(others | ~np.isin(labels, labels[others]))


# The values that cross-validation tries, by scikit-learn's names; the first of equally good ones is
# chosen.
GRIDS: dict[str, dict[str, list[Any]]] = {
    "knn": {"n_neighbors": [1, 3, 5, 9, 15, 25]},
    "svm": {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 1e-4, 1e-2]},
    "rf": {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 2, 5]},
}


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """The hyper-parameters of all heads."""

    # ``standard`` shifts and scales each feature to mean 0 and variance 1 over the training images,
    # so that features with large values do not dominate; ``none`` leaves the features unchanged.
    scaler: Literal["standard", "none"] = "standard"
    neighbors: int = 5  # k of KNN, ≥ 1; Euclidean distance, equal votes
    c: float = 1.0  # C of the SVM, > 0
    # Of the SVM's RBF kernel: ``scale``, ``auto`` or > 0.
    gamma: Literal["scale", "auto"] | float = "scale"
    trees: int = 100  # of the random forest, ≥ 1
    # Whether cross-validation chooses from ``GRIDS`` instead; it never changes ``trees``.
    tune: bool = False
    seed: int = 0  # of the trees and of the folds, in [0, 2^32)


def fit_head(
    name: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    settings: HeadSettings,
    num_classes: int,
    groups: Sequence[str | None] | None,
    class_names: Sequence[str] | None = None,
    allow_absent: bool = False,
) -> Head:
    """Fit one head, with all cores; their number does not change the result.

    With ``settings.tune``, the hyper-parameters are those with the highest mean balanced accuracy
    over the folds of `models.heads.folds`. The SVM's probabilities use the same folds.

    Args:
        name: one of ``HEADS``.
        features: (n, F), of the training images.
        labels: (n,) their classes, each in [0, num_classes).
        groups: the images' lesions, each kept in one fold; an image with None is a separate lesion.
            None: every image is a separate lesion.
        class_names: K names, for messages; None: the classes' numbers.
        allow_absent: whether classes may have no training images. The head then never predicts
            them.

    Raises:
        HeadError: a class has no training image, all images have one class, there are fewer images
            than neighbours of KNN, or a feature is not finite.
    """
    features = check_features(features)
    if len(labels) != len(features):
        raise ValueError(f"{len(labels)} labels for {len(features)} images")
    _check_classes(labels, class_names or [*map(str, range(num_classes))], allow_absent)
    scaling = [("scale", StandardScaler())] if settings.scaler == "standard" else []
    pipeline = Pipeline([*scaling, ("classify", _classifier(name, settings))])
    parts = folds(labels, groups, seed=settings.seed) if settings.tune or name == "svm" else []
    # Threads, since these libraries release Python's lock; processes would copy the features.
    with parallel_config(backend="threading", n_jobs=-1):
        if settings.tune:
            pipeline.set_params(**_tuned(name, pipeline, features, labels, parts))
        elif name == "knn" and settings.neighbors > len(labels):
            raise HeadError(
                f"knn-neighbors = {settings.neighbors}: there are only {len(labels)} training "
                "images to be neighbours"
            )
        if name == "svm":
            # Not an ensemble: a sigmoid on top of the one SVM fitted to all, which classifies.
            calibrated = CalibratedClassifierCV(pipeline, cv=parts, ensemble=False)
            calibrated.fit(features, labels)
            pipeline = calibrated.calibrated_classifiers_[0].estimator
        else:
            calibrated = None
            pipeline.fit(features, labels)
    chosen = pipeline["classify"].get_params()
    reported = [*(["n_estimators"] if name == "rf" else []), *GRIDS[name]]
    return Head(name, num_classes, {key: chosen[key] for key in reported}, pipeline, calibrated)


def _classifier(name: str, settings: HeadSettings) -> Any:
    """Return the unfitted classifier; all other parameters have scikit-learn's defaults."""
    match name:
        case "knn":
            # Brute-force search: in hundreds of dimensions it is faster than trees.
            return KNeighborsClassifier(settings.neighbors, algorithm="brute", metric="euclidean")
        case "svm":
            return SVC(C=settings.c, kernel="rbf", gamma=settings.gamma)
        case "rf":
            return RandomForestClassifier(settings.trees, random_state=settings.seed)
    raise ValueError(f"no head {name!r}; known are {', '.join(HEADS)}")


def _tuned(
    name: str,
    pipeline: Pipeline,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    parts: list[Fold],
) -> dict[str, Any]:
    """Return the pipeline's parameters that classify held-out images best."""
    grid = GRIDS[name]
    if name == "knn":
        fewest = min(len(training) for training, _ in parts)
        grid = {"n_neighbors": [k for k in grid["n_neighbors"] if k <= fewest]}
    search = GridSearchCV(
        pipeline,
        {f"classify__{key}": values for key, values in grid.items()},
        scoring="balanced_accuracy",
        cv=parts,
        # One search for neighbours uses all cores by itself.
        n_jobs=1 if name == "knn" else None,
        refit=False,
        error_score="raise",
    )
    with warnings.catch_warnings():
        # This is normal if a rare class is held out only in some folds.
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true", UserWarning)
        return search.fit(features, labels).best_params_


def _check_classes(
    labels: NDArray[np.int64], class_names: Sequence[str], allow_absent: bool
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    present = [name for name, count in zip(class_names, counts, strict=True) if count]
    absent = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if absent and not allow_absent:
        raise HeadError(
            f"no training image is of class {', '.join(absent)}, which a head then cannot learn; "
            "provide training images of every class"
        )
    if len(present) < 2:
        raise HeadError(
            f"the {len(labels)} training images are of {len(present)} classes "
            f"({', '.join(present)}); a head needs images of two"
        )
