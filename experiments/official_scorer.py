"""The ISIC challenge's own scorer: the package isic-challenge-scoring, an optional extra."""

import io
import warnings
from pathlib import Path

import pandas as pd


class ScorerError(RuntimeError):
    """There is no official score; the message gives the reason in one line."""


def official_balanced_accuracy(truth: pd.DataFrame, submission: Path) -> float:
    """Score a submission with the challenge's own code.

    Args:
        truth: one-hot, from ``data_partition.truth_file.as_one_hot``, with every class.
        submission: a CSV file with the same images and columns, in any order.

    Returns:
        The balanced accuracy in [0, 1].

    Raises:
        ScorerError: the package is not installed, or it refuses the submission.
    """
    # Imported here: it is optional.
    try:
        from isic_challenge_scoring import ClassificationMetric, ClassificationScore, ScoreError
    except ImportError:
        raise ScorerError(
            "the extra 'score' is not installed; in the checkout, with a C compiler: "
            "pip install -c constraints.txt -e '.[score]'"
        ) from None
    # It sorts truth and predictions by image, but not the images' weights: with an unsorted truth
    # it would leave out a wrong image.
    truth = truth.sort_values("image")
    with warnings.catch_warnings(), submission.open(encoding="utf-8") as answers:
        warnings.simplefilter("ignore", FutureWarning)  # it calls something that pandas will remove
        try:
            score = ClassificationScore.from_stream(
                io.StringIO(truth.to_csv(index=False)),
                answers,
                ClassificationMetric.BALANCED_ACCURACY,
            )
        except ScoreError as error:
            raise ScorerError(f"the official scorer refuses {submission.name}: {error}") from error
    return float(score.overall)
