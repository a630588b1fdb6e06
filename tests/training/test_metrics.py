import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from training.metrics import (
    METRIC_NAMES,
    by_patient,
    confusion_matrix,
    figures,
    metric_block,
    metrics,
    pool,
)

CLASSES = 5


def random_confusions() -> list[NDArray[np.int64]]:
    """Ordinary matrices, and some with classes that do not occur or are never predicted."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(24):
        matrix = rng.integers(0, 30, (CLASSES, CLASSES)) * (rng.random((CLASSES, CLASSES)) < 0.7)
        if number % 4 in (1, 3):
            matrix[rng.integers(CLASSES)] = 0  # no such image
        if number % 4 in (2, 3):
            matrix[:, rng.integers(CLASSES)] = 0  # no such answer
        found.append(matrix)
    lonely = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    lonely[2, 3] = 4  # every figure is zero
    return [*found, lonely, lonely.T + np.eye(CLASSES, dtype=np.int64)]


def expand(matrix: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels and answers of the images that a confusion matrix counts."""
    true, predicted = np.indices(matrix.shape)
    return np.repeat(true.ravel(), matrix.ravel()), np.repeat(predicted.ravel(), matrix.ravel())


@pytest.mark.parametrize("matrix", random_confusions())
def test_figures_are_scikit_learns(matrix: NDArray[np.int64]) -> None:
    labels, predicted = expand(matrix)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        labels, predicted, average="weighted", zero_division=0
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        balanced = sklearn.balanced_accuracy_score(labels, predicted)
    expected = [sklearn.accuracy_score(labels, predicted), balanced, precision, recall, f1]
    expected.append(sum(expected) / 5)
    figures = metrics(matrix)
    assert tuple(figures) == METRIC_NAMES == ("acc", "bacc", "pre", "rec", "f1", "avg")
    assert list(figures.values()) == pytest.approx([100 * e for e in expected], rel=1e-12)


def test_worked_example() -> None:
    """Ten images: of eight of class 0 six are found, of two of class 1 one; class 2 is absent.

    Recall 3/4 and 1/2, precision 6/7 and 1/2 (one answer was class 2), and
    F1 = 2·hits/(true + predicted) = 12/15 and 2/4.
    """
    figures = metrics(np.array([[6, 1, 1], [1, 1, 0], [0, 0, 0]]))
    expected = {
        "acc": 70.0,
        "bacc": 100 * (3 / 4 + 1 / 2) / 2,
        "pre": 100 * (8 * 6 / 7 + 2 * 1 / 2) / 10,
        "rec": 70.0,
        "f1": 100 * (8 * 12 / 15 + 2 * 2 / 4) / 10,
    }
    expected["avg"] = sum(expected.values()) / 5
    assert figures == pytest.approx(expected, rel=1e-12)


def test_many_matrices_at_once_have_the_figures_of_each() -> None:
    matrices = random_confusions()
    stacked = np.stack(matrices).reshape(2, -1, CLASSES, CLASSES)
    expected = [list(metrics(matrix).values()) for matrix in matrices]
    np.testing.assert_array_equal(figures(stacked).reshape(-1, 6), expected)


def test_nothing_judged_gives_no_figures() -> None:
    empty = np.zeros((3, 3), dtype=np.int64)
    assert metrics(empty) == dict.fromkeys(METRIC_NAMES)
    assert metric_block(empty)["n"] == 0


def test_perfect_and_wholly_wrong() -> None:
    assert set(metrics(np.diag([3, 1, 9])).values()) == {100.0}
    assert set(metrics(np.array([[0, 3], [4, 0]])).values()) == {0.0}


def test_confusion_matrix_counts_true_classes_in_rows() -> None:
    labels = np.array([0, 0, 0, 2, 2])
    predicted = np.array([0, 1, 1, 2, 0])
    matrix = confusion_matrix(labels, predicted, 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 1]]
    assert matrix.dtype == np.int64
    none = np.array([], dtype=np.int64)
    assert confusion_matrix(none, none, 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("matrix", random_confusions()[:4])
def test_confusion_matrix_is_scikit_learns(matrix: NDArray[np.int64]) -> None:
    labels, predicted = expand(matrix)
    shuffled = np.random.default_rng(1).permutation(len(labels))
    found = confusion_matrix(labels[shuffled], predicted[shuffled], CLASSES)
    assert (found == matrix).all()
    assert (found == sklearn.confusion_matrix(labels, predicted, labels=range(CLASSES))).all()


def test_pooled_figures_are_those_of_the_union() -> None:
    parts = random_confusions()[:3]
    labels, predicted = (np.concatenate(both) for both in zip(*map(expand, parts), strict=True))
    assert metrics(pool(parts, CLASSES)) == metrics(confusion_matrix(labels, predicted, CLASSES))


def test_pooled_figures_are_not_the_mean_of_figures() -> None:
    """8 of 8 right and 1 of 2 right: the mean of 100 % and 50 % is 75 %, but 9 of 10 is 90 %."""
    many, few = np.array([[8, 0], [0, 0]]), np.array([[0, 0], [1, 1]])
    assert [metrics(many)["acc"], metrics(few)["acc"]] == [100.0, 50.0]
    assert metrics(pool([many, few], 2))["acc"] == pytest.approx(90.0, rel=1e-15)


def test_pooling_changes_no_part_and_takes_none() -> None:
    part = np.array([[1, 2], [3, 4]])
    pool([part, part], 2)
    assert part.tolist() == [[1, 2], [3, 4]]
    assert pool([], 2).tolist() == [[0, 0], [0, 0]]


def test_block_can_be_recomputed_from_its_confusion() -> None:
    block = metric_block(np.array([[2, 1], [0, 3]]))
    assert block["confusion"] == [[2, 1], [0, 3]]
    assert block["n"] == 6
    assert metrics(np.array(block["confusion"])) == {name: block[name] for name in METRIC_NAMES}


def test_a_patient_is_judged_by_the_mean_of_its_slices() -> None:
    """Patients 7, 2, 5 of the classes 0, 1, 1, their slices mixed.

    By slice: right are those of 0.9, 0.6, 0.7 and 0.8, four of seven. By patient: 7 has the mean
    (0.9 + 0.4 + 0.4)/3 = 0.567 for class 0 and is right, though two of its three slices are not;
    2 has (0.6 + 0.3)/2 = 0.45 for class 1 and is wrong, though one of its two is not; 5 has
    (0.7 + 0.8)/2 = 0.75 for class 1 and is right.
    """
    patients = np.array([7, 2, 5, 7, 7, 2, 5])
    labels = np.array([0, 1, 1, 0, 0, 1, 1])
    of_truth = np.array([0.9, 0.6, 0.7, 0.4, 0.4, 0.3, 0.8], dtype=np.float32)
    first = np.where(labels == 0, of_truth, 1 - of_truth)
    probabilities = np.stack([first, 1 - first], axis=1)
    by_slice = confusion_matrix(labels, probabilities.argmax(axis=1), 2)
    assert by_slice.tolist() == [[1, 2], [1, 3]]
    means, of_patients = by_patient(probabilities, labels, patients)  # of 2, 5 and 7
    assert of_patients.tolist() == [1, 1, 0]
    assert means[:, 1] == pytest.approx([0.45, 0.75, 1 - 1.7 / 3], rel=1e-6)
    assert confusion_matrix(of_patients, means.argmax(axis=1), 2).tolist() == [[1, 0], [1, 1]]


def test_the_first_class_wins_a_patients_tie() -> None:
    probabilities = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)
    means, labels = by_patient(probabilities, np.array([1, 1]), np.array([0, 0]))
    assert (means.argmax(axis=1).tolist(), labels.tolist()) == ([0], [1])


def test_no_patients() -> None:
    nobody = np.zeros(0, dtype=np.int64)
    means, labels = by_patient(np.zeros((0, 3), dtype=np.float32), nobody, nobody)
    assert (means.shape, labels.shape) == ((0, 3), (0,))
