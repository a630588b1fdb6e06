"""Every score: scikit-learn's figure, the sum of clients' counts, and what is not defined."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve

from strategies.histograms import CONFIDENCE_BINS, EDGES
from training.metrics import METRIC_NAMES
from training.score_counts import Answers, ScoreCounts
from training.scores import SCORES, further_scores, score_block

DOCS = Path(__file__).parents[2] / "docs" / "scores.md"

every_score = pytest.mark.parametrize("name", SCORES)


def answers(
    images: int = 200, classes: int = 5, seed: int = 0, *, spread: float = 2.0, absent: int = 0
) -> Answers:
    """Random answers, right more often than not; the first ``absent`` classes do not occur."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(absent, classes, images)
    logits = spread * rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += spread
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Answers((powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels)


def some(whole: Answers, chosen: NDArray) -> Answers:
    return Answers(whole.probabilities[chosen], whole.labels[chosen])


def calibration_error(found: Answers) -> float:
    confidence = found.probabilities.max(axis=1).astype(np.float64)
    right = found.predicted == found.labels
    accuracy, mean = calibration_curve(right, confidence, n_bins=CONFIDENCE_BINS)
    bins = np.searchsorted(np.linspace(0, 1, CONFIDENCE_BINS + 1)[1:-1], confidence)
    counts = np.bincount(bins)
    return float(counts[counts > 0] @ abs(accuracy - mean) / len(right))


def weighted(what: str) -> Callable[[Answers], float]:
    def figure(a: Answers) -> float:
        score = getattr(sklearn, f"{what}_score")
        return float(score(a.labels, a.predicted, average="weighted", zero_division=0))

    return figure


class Expected(NamedTuple):
    """The figure of scikit-learn's functions, and by what it is multiplied here."""

    figure: Callable[[Answers], float]
    times: int = 100


EXPECTED = {
    "acc": Expected(lambda a: sklearn.accuracy_score(a.labels, a.predicted)),
    "bacc": Expected(lambda a: sklearn.balanced_accuracy_score(a.labels, a.predicted)),
    "pre": Expected(weighted("precision")),
    "rec": Expected(weighted("recall")),
    "f1": Expected(weighted("f1")),
    "avg": Expected(
        lambda a: np.mean([EXPECTED[n].figure(a) for n in ("acc", "bacc", "pre", "rec", "f1")])
    ),
    "auroc": Expected(
        lambda a: np.mean(
            [sklearn.roc_auc_score(a.labels == k, a.probabilities[:, k]) for k in present(a)]
        )
    ),
    "sensitivity": Expected(
        lambda a: np.mean(
            [sklearn.recall_score(a.labels == k, a.predicted == k) for k in present(a)]
        )
    ),
    "specificity": Expected(
        lambda a: np.mean(
            [
                sklearn.recall_score(a.labels != k, a.predicted != k)
                for k in range(a.probabilities.shape[1])
            ]
        )
    ),
    "ece": Expected(calibration_error),
    "brier": Expected(
        lambda a: sklearn.brier_score_loss(
            a.labels,
            (p := a.probabilities.astype(np.float64)) / p.sum(axis=1, keepdims=True),
            labels=range(a.probabilities.shape[1]),
            scale_by_half=False,
        ),
        times=1,
    ),
    "kappa": Expected(lambda a: sklearn.cohen_kappa_score(a.labels, a.predicted), times=1),
    "mcc": Expected(lambda a: sklearn.matthews_corrcoef(a.labels, a.predicted), times=1),
}


def present(found: Answers) -> list[int]:
    return np.unique(found.labels).tolist()


PROBLEMS = {
    "five classes": answers(),
    "two classes": answers(classes=2, seed=1),
    "two classes do not occur": answers(absent=2, seed=2),
    "close to chance": answers(spread=0.05, seed=3),
    "certain": answers(spread=12.0, seed=4),
    "many ties": Answers(
        np.round(answers(seed=5).probabilities * 4) / 4 + 0.01, answers(seed=5).labels
    ),
}


@every_score
@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p != "many ties"])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_score_is_scikit_learns(name: str, problem: str) -> None:
    """Of the predictions themselves, as on the global test set."""
    found, expected = PROBLEMS[problem], EXPECTED[name]
    figure = score_block(found.counts())[name]
    # For Brier's score the rows sum to 1 there, and here as nearly as float32 does.
    assert figure == pytest.approx(expected.times * expected.figure(found), rel=1e-6)


@every_score
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_the_sums_over_clients_are_the_pooled_images(name: str, order: list[int]) -> None:
    """To the bit, in any order; only a sum of squared errors is rounded."""
    whole = answers(absent=1)
    of_client = np.random.default_rng(0).integers(0, 3, len(whole.labels))
    parts = [some(whole, of_client == client).counts(exact=False) for client in order]
    pooled = score_block(ScoreCounts.pooled(parts, 5))[name]
    expected = score_block(whole.counts(exact=False))[name]
    assert pooled == pytest.approx(expected, rel=1e-14 if name == "brier" else 0)


@every_score
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "found",
    [
        *PROBLEMS.values(),
        answers(images=1),
        answers(images=40, absent=4),
        Answers(np.eye(3, dtype=np.float32)[[0, 0, 0, 0]], np.array([0, 0, 0, 0])),
        Answers(np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 0, 0, 0])),
        Answers(np.eye(3, dtype=np.float32)[[0, 0, 0, 0]], np.array([0, 1, 2, 0])),
        Answers(np.eye(3, dtype=np.float32)[[1, 2, 0]], np.array([0, 1, 2])),
    ],
    ids=[
        *PROBLEMS,
        *("one image", "all images of one class", "nothing to tell apart"),
        *("one true class", "one answer", "always wrong"),
    ],
)
def test_a_score_is_in_its_range_or_none(name: str, exact: bool, found: Answers) -> None:
    block, score = score_block(found.counts(exact=exact)), SCORES[name]
    figures = [block[name], *block["by_class"].get(name, [])]
    assert all(figure is None or score.range[0] <= figure <= score.range[1] for figure in figures)
    assert len(figures) == 1 + score.by_class * found.probabilities.shape[1]


@every_score
def test_no_images_have_no_score(name: str) -> None:
    block = score_block(some(answers(), np.zeros(200, dtype=bool)).counts())
    assert block[name] is None
    assert set(block["by_class"].get(name, [None])) == {None}


@every_score
def test_without_histograms_only_what_needs_them_is_missing(name: str) -> None:
    whole = answers().counts()
    block = score_block(ScoreCounts(whole.confusion))
    if SCORES[name].needs == "histograms":
        assert block[name] is None
    else:
        assert block[name] == score_block(whole)[name]


def test_what_is_not_defined_is_none() -> None:
    """One image of class 0, taken for it: no pair for AUROC, no negative, no chance to correct."""
    block = score_block(answers(images=1, classes=3, absent=2, spread=9).counts())
    assert block["confusion"] == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert block["by_class"]["auroc"] == [None] * 3
    assert block["by_class"]["sensitivity"] == [None, None, 100.0]
    assert block["by_class"]["specificity"] == [100.0, 100.0, None]
    assert block["auroc"] is block["kappa"] is block["mcc"] is None


def test_clients_that_send_no_histograms_are_in_the_other_scores_only() -> None:
    whole = answers()
    with_histograms = some(whole, np.arange(200) < 120)
    without = ScoreCounts(some(whole, np.arange(200) >= 120).confusion)
    found = score_block(ScoreCounts.pooled([without, with_histograms.counts(exact=False)], 5))
    for name, score in SCORES.items():
        of = with_histograms if score.needs == "histograms" else whole
        expected = score_block(of.counts(exact=False))[name]
        assert found[name] == expected


@pytest.mark.parametrize("problem", PROBLEMS)
def test_bins_change_auroc_by_half_the_pairs_within_one_at_most(problem: str) -> None:
    """In fact by less than half a point, since some of those pairs are in the right order.

    Equal bins alone would be 5 points off for the network that is certain.
    """
    found = PROBLEMS[problem]
    exact, binned = found.counts(), found.counts(exact=False)
    assert binned.histograms is not None
    bounds = []
    for k, (negatives, positives) in enumerate(binned.histograms.of_class):
        if positives.sum() == 0:
            continue
        bound = 50 * (negatives @ positives) / (negatives.sum() * positives.sum())
        figures = [score_block(counts)["by_class"]["auroc"][k] for counts in (exact, binned)]
        assert abs(figures[0] - figures[1]) <= bound + 1e-12
        bounds.append(bound)
    change = abs(score_block(exact)["auroc"] - score_block(binned)["auroc"])
    assert change <= np.mean(bounds) + 1e-12
    assert change < 0.5


def test_bins_are_no_wider_than_a_thousandth_and_halve_towards_both_ends() -> None:
    edges = np.concatenate([[0], EDGES, [1]])
    assert np.diff(edges).max() == 1 / 1024
    assert edges[1:4].tolist() == [2**-32, 2**-31, 2**-30]
    assert (1 - edges[-4:]).tolist() == [2**-22, 2**-23, 2**-24, 0]
    assert (np.diff(edges) > 0).all()


def test_worked_example() -> None:
    """Four images, two classes; p of class 1 is 0.125, 0.375, 0.25, 0.75; true 0, 0, 1, 1.

    Pairs for AUROC: 0.25 > 0.125 and < 0.375, 0.75 above both: 3 of 4. Three are right. ECE: 0.875
    and 0.625 right, 0.75 wrong and right, in bins of 1/15 each: (0.125 + 0.375 + |1 − 1.5|) / 4.
    Brier: 2 (0.125² + 0.375² + 0.75² + 0.25²) / 4. Chance is 1/2, so kappa is (3/4 − 1/2) / (1/2).
    MCC: (2·1 − 0·1) / √(2·2·3·1).
    """
    of_one = np.array([0.125, 0.375, 0.25, 0.75])
    block = score_block(
        Answers(np.stack([1 - of_one, of_one], axis=1), np.array([0, 0, 1, 1])).counts()
    )
    assert block["by_class"]["auroc"] == [75.0, 75.0]
    assert block["by_class"]["sensitivity"] == [100.0, 50.0]
    assert block["by_class"]["specificity"] == [50.0, 100.0]
    assert block["ece"] == pytest.approx(25.0, rel=1e-15)
    assert block["brier"] == pytest.approx(0.390625, rel=1e-15)
    assert block["kappa"] == pytest.approx(0.5, rel=1e-15)
    assert block["mcc"] == pytest.approx(2 / np.sqrt(12), rel=1e-15)


def test_a_chosen_class_counts_even_if_another_is_more_probable() -> None:
    """As of a support vector machine: its confidence is the chosen class's probability."""
    probabilities = np.array([[0.75, 0.25]])
    histograms = Answers(probabilities, np.array([1]), np.array([1])).counts().histograms
    assert histograms is not None
    assert histograms.confidence.sum(axis=0).tolist() == [0, 1]
    assert histograms.confidence_sums.sum() == 0.25


def test_the_studys_six_come_first() -> None:
    assert tuple(SCORES)[:6] == METRIC_NAMES
    assert list(SCORES)[6:] == list(further_scores("avg", "loss"))


@every_score
def test_a_score_has_a_row_in_the_docs(name: str) -> None:
    """With its range, what is best, and what it is computed from."""
    score = SCORES[name]
    low, high = (f"{bound:g}".replace("-", "−") for bound in score.range)
    about = [
        f"{low}–{high}{' %' if score.in_percent else ''}",
        "high" if score.higher_is_better else "low",
        {"confusion": "confusion matrix"}.get(score.needs, score.needs),
    ]
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    (row,) = [
        cells for cells in (line.split("|")[1:-1] for line in lines) if f"`{name}`" in cells[0]
    ]
    assert [cell.strip() for cell in row[-3:]] == about


def test_no_error_is_a_coefficient_of_one_at_most() -> None:
    """For classes of 3 and 2 images both roots are of 25 − 13 = 12, and √12 · √12 is below 12."""
    assert math.sqrt(12) * math.sqrt(12) < 12
    assert score_block(ScoreCounts(np.diag([3, 2])))["mcc"] == 1.0
