"""Tuning takes what is best on images of lesions that were held out."""

from dataclasses import replace

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.heads import GRIDS, folds
from tests.models.clusters import LABELS, SETTINGS, TRAIN, clusters, fitted


def test_tuning_takes_what_judges_held_out_lesions_best() -> None:
    """The same search by hand: mean balanced accuracy over the folds, the first of equals."""
    lesions = [f"lesion {row // 3}" for row in range(len(LABELS))]
    scores = []
    for k in GRIDS["knn"]["n_neighbors"]:
        parts = []
        for training, held_out in folds(LABELS, lesions, seed=0):
            pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier(k))
            pipeline.fit(TRAIN[training], LABELS[training])
            parts.append(
                balanced_accuracy_score(LABELS[held_out], pipeline.predict(TRAIN[held_out]))
            )
        scores.append(np.mean(parts))
    best = GRIDS["knn"]["n_neighbors"][int(np.argmax(scores))]
    head = fitted("knn", settings=replace(SETTINGS, tune=True), groups=lesions)
    assert head.settings == {"n_neighbors": best}


def test_copies_of_a_lesion_do_not_fool_the_tuning() -> None:
    """Each of 100 images, of classes that blur into each other, stands there four times.

    Where its copies are in other folds, its nearest neighbour knows the answer and k = 1 looks
    perfect. With the copies held out, too, the vote of several lesions is better.
    """
    features, labels = clusters(100, seed=2, spread=3)
    given = {
        "features": np.repeat(features, 4, axis=0),
        "labels": np.repeat(labels, 4),
        "settings": replace(SETTINGS, tune=True),
    }
    assert fitted("knn", **given).settings == {"n_neighbors": 1}
    lesions = [f"lesion {row // 4}" for row in range(400)]
    assert fitted("knn", **given, groups=lesions).settings["n_neighbors"] > 4


def test_tuning_asks_for_no_more_neighbours_than_there_are() -> None:
    """Ten images, two in each fold: k is at most 8."""
    few = [np.flatnonzero(number == LABELS)[:5] for number in (0, 1)]
    rows = np.concatenate(few)
    head = fitted(
        "knn",
        features=TRAIN[rows],
        labels=LABELS[rows],
        num_classes=2,
        settings=replace(SETTINGS, tune=True),
    )
    assert head.settings["n_neighbors"] <= 8
