"""Heads predict as scikit-learn's pipelines do, with any number of cores."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from models.errors import HeadError
from models.head_names import HEADS
from models.heads import GRIDS, HeadSettings, folds
from tests.models.clusters import (
    LABELS,
    NUM_CLASSES,
    SETTINGS,
    TEST,
    TRAIN,
    TRUE,
    WIDTH,
    fitted,
)


def plain(name: str) -> Pipeline:
    """The study's head in scikit-learn's own words."""
    classifiers = {
        "knn": KNeighborsClassifier(n_neighbors=5),
        "svm": SVC(C=1.0, kernel="rbf", gamma="scale"),
        "rf": RandomForestClassifier(n_estimators=10, random_state=0),
    }
    return make_pipeline(StandardScaler(), classifiers[name]).fit(TRAIN, LABELS)


@pytest.mark.parametrize("name", HEADS)
def test_answers_are_scikit_learns(name: str) -> None:
    head = fitted(name)
    predicted = head.predict(TEST)
    assert predicted.dtype == np.int64
    np.testing.assert_array_equal(predicted, plain(name).predict(TEST))
    assert balanced_accuracy_score(TRUE, predicted) > 0.5  # by chance: 0.25
    probabilities = head.predict_proba(TEST)
    assert probabilities.shape == (60, NUM_CLASSES)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("name", HEADS)
def test_without_a_scaler_features_are_taken_as_they_are(name: str) -> None:
    """Of features with very different scales the largest then decide for KNN and SVM."""
    head = fitted(name, settings=replace(SETTINGS, scaler="none"))
    classifier = plain(name)[-1]
    predicted = head.predict(TEST)
    np.testing.assert_array_equal(predicted, classifier.fit(TRAIN, LABELS).predict(TEST))
    assert (predicted != fitted(name).predict(TEST)).any() or name == "rf"


@pytest.mark.parametrize("name", ["knn", "rf"])
def test_probabilities_are_scikit_learns(name: str) -> None:
    np.testing.assert_allclose(fitted(name).predict_proba(TEST), plain(name).predict_proba(TEST))


def test_the_svms_probabilities_are_calibrated_on_held_out_images() -> None:
    """Platt's sigmoids on the folds' scores, on top of the one SVM fitted to all images."""
    unfitted = make_pipeline(StandardScaler(), SVC())
    parts = folds(LABELS, None, seed=0)
    expected = CalibratedClassifierCV(unfitted, method="sigmoid", cv=parts, ensemble=False)
    expected.fit(TRAIN, LABELS)
    np.testing.assert_allclose(fitted("svm").predict_proba(TEST), expected.predict_proba(TEST))


def test_a_tie_of_votes_goes_to_the_first_class() -> None:
    """Of four neighbours on a line two are of class 1 and two of class 2, nearer ones of 2."""
    features = np.array([[-2], [-1], [1], [2], [9]], dtype=np.float32)
    head = fitted(
        "knn",
        features=features,
        labels=np.array([1, 2, 2, 1, 0]),
        settings=replace(SETTINGS, neighbors=4),
        num_classes=3,
    )
    here = np.zeros((1, 1), dtype=np.float32)
    assert head.predict(here).tolist() == [1]
    assert head.predict_proba(here).tolist() == [[0, 0.5, 0.5]]


@pytest.mark.parametrize("name", HEADS)
def test_scales_of_features_do_not_matter(name: str) -> None:
    """Powers of two, so that no rounding comes in."""
    scales = (2.0 ** np.arange(WIDTH)).astype(np.float32)
    head = fitted(name, features=TRAIN * scales)
    np.testing.assert_array_equal(head.predict(TEST * scales), fitted(name).predict(TEST))


def test_a_feature_that_never_changes_does_no_harm() -> None:
    """ReLU leaves such: its variance is 0, and it is shifted only."""
    dead = np.zeros((120, 1), dtype=np.float32)
    head = fitted("svm", features=np.hstack([TRAIN, dead]))
    assert np.isfinite(head.predict_proba(np.hstack([TEST, dead[:60]]))).all()


@pytest.mark.parametrize("name", HEADS)
def test_a_feature_that_is_off_in_training_and_on_later_does_no_harm(name: str) -> None:
    """SiLU leaves values such as 10⁻³⁸; scaled to variance 1, a later 5,000 would be infinite."""
    off = 1e-38 * np.random.default_rng(0).random((len(TRAIN), 1)).astype(np.float32)
    on = np.full((len(TEST), 1), 5000, dtype=np.float32)
    head = fitted(name, features=np.hstack([TRAIN, off]))
    assert np.isfinite(head.predict_proba(np.hstack([TEST, on]))).all()


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_neither_cores_nor_another_call_change_anything(
    name: str, tune: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRIDS, "svm", {"C": [1.0, 10.0]})
    monkeypatch.setitem(GRIDS, "rf", {"min_samples_leaf": [1, 3]})
    found = []
    for cores in ("1", "3"):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", cores)
        head = fitted(name, settings=replace(SETTINGS, tune=tune))
        found.append((head.settings, head.predict(TEST), head.predict_proba(TEST)))
    (settings, predicted, probabilities), other = found
    assert other[0] == settings
    np.testing.assert_array_equal(other[1], predicted)
    np.testing.assert_array_equal(other[2], probabilities)


def test_the_seed_grows_the_forest() -> None:
    first = fitted("rf").predict_proba(TEST)
    assert (first != fitted("rf", settings=replace(SETTINGS, seed=1)).predict_proba(TEST)).any()


@pytest.mark.parametrize(
    "name, settings, expected",
    [
        ("knn", HeadSettings(neighbors=3), {"n_neighbors": 3}),
        ("svm", HeadSettings(c=2.0, gamma=0.5), {"C": 2.0, "gamma": 0.5}),
        ("svm", HeadSettings(gamma="auto"), {"C": 1.0, "gamma": "auto"}),
        (
            "rf",
            HeadSettings(trees=7),
            {"n_estimators": 7, "max_features": "sqrt", "min_samples_leaf": 1},
        ),
    ],
)
def test_settings_arrive_and_are_reported(
    name: str, settings: HeadSettings, expected: dict[str, Any]
) -> None:
    head = fitted(name, settings=settings)
    assert head.settings == expected
    parameters = head.pipeline["classify"].get_params()
    assert expected.items() <= parameters.items()
    assert json.loads(json.dumps(head.settings)) == expected


@pytest.mark.parametrize("name", HEADS)
def test_absent_classes_are_refused_by_name(name: str) -> None:
    given = {"labels": LABELS % 2, "class_names": ["mel", "nv", "df", "vasc"]}
    with pytest.raises(HeadError, match="no training image is of class df, vasc"):
        fitted(name, **given)
    with pytest.raises(HeadError, match="class 2, 3"):
        fitted(name, labels=LABELS % 2)


@pytest.mark.parametrize("name", HEADS)
def test_a_client_may_lack_classes(name: str) -> None:
    """Of classes 1 and 3 only; the others' probabilities are zero."""
    head = fitted(name, labels=2 * (LABELS % 2) + 1, allow_absent=True)
    assert set(head.predict(TEST)) == {1, 3}
    probabilities = head.predict_proba(TEST)
    assert (probabilities[:, [0, 2]] == 0).all()
    np.testing.assert_allclose(probabilities[:, [1, 3]].sum(axis=1), 1)


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("rare", [1, 2, 3])
def test_a_class_may_have_fewer_images_than_there_are_folds(
    name: str, tune: bool, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRIDS, "svm", {"C": [1.0]})
    monkeypatch.setitem(GRIDS, "rf", {"min_samples_leaf": [1]})
    common, others = np.flatnonzero(LABELS != 3), np.flatnonzero(LABELS == 3)
    rows = np.concatenate([common, others[:rare]])
    head = fitted(
        name,
        features=TRAIN[rows],
        labels=LABELS[rows],
        settings=replace(SETTINGS, tune=tune),
    )
    np.testing.assert_allclose(head.predict_proba(TEST).sum(axis=1), 1)


def test_two_images_are_enough_for_an_svm() -> None:
    """It separates them; what they say of their own probabilities is better than nothing."""
    head = fitted("svm", features=TEST[:2], labels=np.array([0, 1]), num_classes=2)
    assert head.predict(TEST[:2]).tolist() == [0, 1]
    assert head.predict_proba(TEST[:2]).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("name", HEADS)
def test_one_class_is_no_training_set(name: str) -> None:
    with pytest.raises(HeadError, match=r"of 1 classes \(nv\); a head needs images of two"):
        fitted(
            name,
            labels=np.ones_like(LABELS),
            class_names=["mel", "nv", "df", "vasc"],
            allow_absent=True,
        )


def test_more_neighbours_than_images_are_refused() -> None:
    with pytest.raises(HeadError, match=r"knn-neighbors = 121: there are only 120 training"):
        fitted("knn", settings=replace(SETTINGS, neighbors=121))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(bad: float) -> None:
    broken = TRAIN.copy()
    broken[[3, 5], 2] = bad
    with pytest.raises(HeadError, match="the features of 2 of 120 images are not all finite"):
        fitted("knn", features=broken)
    head = fitted("knn")
    for judge in (head.predict, head.predict_proba):
        with pytest.raises(HeadError, match="not all finite"):
            judge(broken)
        with pytest.raises(HeadError, match="width 5, but the head was fitted on 12"):
            judge(TEST[:, :5])


def test_what_no_caller_should_pass_is_an_error() -> None:
    with pytest.raises(ValueError, match="no head 'lda'; known are knn, svm, rf"):
        fitted("lda")
    with pytest.raises(ValueError, match="60 labels for 120 images"):
        fitted("knn", labels=TRUE)
    with pytest.raises(ValueError, match="shape"):
        fitted("knn", features=TRAIN[0])


@pytest.mark.parametrize("name", HEADS)
def test_an_image_is_judged_as_among_others(name: str) -> None:
    head = fitted(name)
    together = head.predict_proba(TEST)
    for row in range(3):
        alone = head.predict_proba(TEST[row : row + 1])
        np.testing.assert_array_equal(alone, together[row : row + 1])
        assert head.predict(TEST[row : row + 1]) == head.predict(TEST)[row]


@pytest.mark.parametrize("name", HEADS)
def test_no_images_have_no_answers(name: str) -> None:
    head = fitted(name)
    assert head.predict(TEST[:0]).shape == (0,)
    assert head.predict_proba(TEST[:0]).shape == (0, NUM_CLASSES)


def test_the_layout_of_features_in_memory_does_not_matter() -> None:
    head = fitted("knn")
    doubled = np.asfortranarray(TEST.astype(np.float64))
    np.testing.assert_array_equal(head.predict(doubled), head.predict(TEST))
