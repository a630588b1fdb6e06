"""The time of a head through `models.heads`, compared with scikit-learn called directly.

Both sides fit the same pipeline to the same features, then predict the classes and probabilities of
the test images, with all cores. The SVM's time includes its calibration: five fits on folds and one
on all images. The features are generated: one cluster per class in a space of few dimensions,
similar to those of trained networks, projected at random to the width of convnext_l, with negative
values set to zero.
"""

from collections.abc import Callable

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.result import Result, ratio
from benchmarks.timing import interleaved
from models.heads import HeadSettings, fit_head

BARE, OURS = "scikit-learn", "fedskin"
NUM_CLASSES, LATENT_WIDTH, DISTANCE = 7, 16, 1.5

Answers = tuple[NDArray[np.int64], NDArray[np.float64]]


def measure(
    repeats: int = 3, *, images: int = 10_000, width: int = 1536, test_images: int = 1_500
) -> list[Result]:
    """Fit and predict on both sides alternately, first KNN and then the SVM.

    Args:
        repeats: samples of each side. KNN has three times as many, after a turn that is not
            counted: the SVM takes a quarter of a minute, KNN a second.
        images, width, test_images: numbers of training images, features and test images.
    """
    features, labels = made_up(images, width, seed=0)
    test, test_labels = made_up(test_images, width, seed=1)

    def ours(name: str) -> Answers:
        head = fit_head(
            name,
            features,
            labels,
            settings=HeadSettings(),
            num_classes=NUM_CLASSES,
            groups=None,
        )
        return head.predict(test), head.predict_proba(test)

    def bare_knn() -> Answers:
        model = make_pipeline(StandardScaler(), KNeighborsClassifier(5, n_jobs=-1))
        model.fit(features, labels)
        return model.predict(test), model.predict_proba(test)

    def bare_svm() -> Answers:
        model = CalibratedClassifierCV(
            make_pipeline(StandardScaler(), SVC()), ensemble=False, n_jobs=-1
        )
        model.fit(features, labels)
        plain = model.calibrated_classifiers_[0].estimator
        return plain.predict(test), model.predict_proba(test)

    def compare(name: str, bare: Callable[[], Answers], turns: int, warm_up: int) -> Result:
        answers: dict[str, Answers] = {}
        sides = {
            BARE: lambda: answers.update({BARE: bare()}),
            OURS: lambda: answers.update({OURS: ours(name)}),
        }
        samples = interleaved(sides, turns, warm_up)
        predicted = answers[OURS][0]
        return Result(
            name=f"heads-{name}",
            compares=f"Fitting and predicting with {name} over scikit-learn called directly.",
            value=ratio(OURS, BARE, samples),
            unit="x",
            samples=samples,
            at_most=1.05,
            details={
                "training images": images,
                "test images": test_images,
                "features": width,
                "classes": NUM_CLASSES,
                "cores": joblib.cpu_count(),
                "share of equal answers": float((predicted == answers[BARE][0]).mean()),
                "accuracy": float((predicted == test_labels).mean()),
            },
        )

    return [compare("knn", bare_knn, 3 * repeats, 1), compare("svm", bare_svm, repeats, 0)]


def made_up(count: int, width: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features (count, width) in clusters and their classes (count,)."""
    space = np.random.default_rng(99)
    centres = DISTANCE * space.standard_normal((NUM_CLASSES, LATENT_WIDTH))
    cast = space.standard_normal((LATENT_WIDTH, width))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, NUM_CLASSES, count)
    latent = centres[labels] + generator.standard_normal((count, LATENT_WIDTH))
    return np.maximum(latent @ cast, 0).astype(np.float32), labels
