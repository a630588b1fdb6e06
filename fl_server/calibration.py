"""The calibration of a federation's best model, from the counts that clients send."""

import numpy as np

from fl_server.client_evaluation import counts_of
from strategies.replies import Replies
from strategies.temperature_losses import FIELD, TEMPERATURES
from training.calibration import Calibration, calibrate
from training.score_counts import ScoreCounts


def pooled_calibration(
    replies: Replies, num_classes: int, coverage: float, *, own: bool
) -> Calibration:
    """Return the calibration on the pooled validation images of the clients that send histograms.

    Pooled, an image is as likely to be a client's as that client's share of all the images is, and
    the guarantee is for such an image (Lu, Yu, Karimireddy, Jordan, Raskar: Federated Conformal
    Predictors for Distributed Uncertainty Quantification, 2023).

    Args:
        replies: to the final evaluation of the best model.
        own: whether clients judged models of their own.
    """
    parts, missing = [], dict(replies.failures)
    losses = np.zeros(len(TEMPERATURES))
    for reply in replies.accepted:
        counts = counts_of(reply, "validation", num_classes)
        if counts.histograms is not None:
            parts.append(counts)
            losses += np.array(reply.metrics[f"validation-{FIELD}"], dtype=np.float64)
        elif counts.num_images:
            missing[reply.client] = "sends no histograms"
    return calibrate(
        ScoreCounts.pooled(parts, num_classes).histograms,
        losses,
        num_classes=num_classes,
        coverage=coverage,
        own=own,
        missing=missing,
    )
