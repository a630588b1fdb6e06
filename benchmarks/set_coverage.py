"""Do prediction sets cover as often as asked for? On a run's own predictions, divided at random.

``python -m benchmarks.set_coverage RUN [RUN …]`` halves each run's global test set, 200
times: one half calibrates, the other is covered. With n calibration images and no ties, the number
of m images that is covered is beta-binomial, with parameters k = ⌈(n + 1) · coverage⌉ and n + 1 − k
(V. Vovk: Conditional validity of inductive conformal predictors, 2012). Ties, among them all that
falls into one bin of a histogram, make sets larger: they may cover more, and must not cover less.
"""

import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import betabinom

from experiments.reporting.run_results import answers_of
from training.calibration import calibrate
from training.prediction_sets import in_sets
from training.run_folder import RunFolder
from training.score_counts import Answers
from training.temperature import temperature_losses

DIVISIONS = 200
BAND = (0.025, 0.975)


class Coverage(NamedTuple):
    """Over all divisions; percentages."""

    what: str  # ``all`` images with marginal sets, or a class with sets by class
    images: int
    mean: float
    expected: float
    below: float  # of the divisions: below the 95 % band of their number of images
    above: float


def measure(answers: Answers, classes: tuple[str, ...], coverage: float) -> Iterator[Coverage]:
    """Divide the images at random, and yield how often the sets of one half hold the truth.

    Args:
        answers: to n images.
        classes: K names.
        coverage: that is asked for.
    """
    found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in ("all", *classes)}
    for number in range(DIVISIONS):
        order = np.random.default_rng(number).permutation(len(answers.labels))
        first, second = map(answers.part, np.array_split(order, 2))
        histograms = first.counts(exact=False).histograms
        assert histograms is not None
        kinds = calibrate(
            histograms, temperature_losses(first), num_classes=len(classes), coverage=coverage
        ).kinds
        places = np.arange(len(second.labels))
        marginal, by_class = (
            in_sets(second.probabilities, kinds[kind])[places, second.labels]
            for kind in ("marginal", "by_class")
        )
        found["all"].append((len(first.labels), len(marginal), int(marginal.sum())))
        for label, name in enumerate(classes):
            ours = second.labels == label
            calibrating = int((first.labels == label).sum())
            found[name].append((calibrating, int(ours.sum()), int(by_class[ours].sum())))
    for what, divisions in found.items():
        if all(n and m for n, m, _ in divisions):
            yield _over_divisions(what, divisions, coverage)


def _over_divisions(what: str, divisions: list[tuple[int, int, int]], coverage: float) -> Coverage:
    expected, below, above = [], 0, 0
    for n, m, covered in divisions:
        rank = math.ceil((n + 1) * Fraction(str(coverage)))
        if rank > n:  # too few to calibrate: every set holds the class
            expected.append(1.0)
            continue
        low, high = betabinom.ppf(BAND, m, rank, n + 1 - rank)
        expected.append(rank / (n + 1))
        below += covered < low
        above += covered > high
    return Coverage(
        what,
        divisions[0][0] + divisions[0][1],
        100 * float(np.mean([covered / m for _, m, covered in divisions])),
        100 * float(np.mean(expected)),
        100 * below / len(divisions),
        100 * above / len(divisions),
    )


def main() -> None:
    """Print a table for each run that is named."""
    for path in map(Path, sys.argv[1:]):
        folder = RunFolder(path)
        config = folder.config()
        classes = tuple(map(str, folder.data()["classes"]))
        answers = answers_of(folder.predictions("global_test"), classes)
        print(f"{path.name}: {config.strategy}, loss {config.loss}, coverage {config.coverage}")
        print(f"{'sets of':>8} {'images':>7} {'mean':>6} {'expected':>9} {'below':>6} {'above':>6}")
        for row in measure(answers, classes, config.coverage):
            print(
                f"{row.what:>8} {row.images:>7} {row.mean:>6.1f} {row.expected:>9.1f} "
                f"{row.below:>6.1f} {row.above:>6.1f}"
            )


if __name__ == "__main__":
    main()
