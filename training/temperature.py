"""Temperature scaling: one number that makes a network's probabilities say how often it is right.

The outputs are divided by a temperature T before the softmax, so the order of the classes stays. T
is that of the least loss on images that the network was not trained on (Guo, Pleiss, Sun,
Weinberger: On Calibration of Modern Neural Networks, 2017, section 4.2); above 1 the network was
too certain. The loss at fixed temperatures is a sum over images, so T is fitted to the pooled
images of all clients without their outputs.
"""

import numpy as np
from numpy.typing import NDArray

from strategies.temperature_losses import LEAST, TEMPERATURES
from training.score_counts import Answers


def calibrated(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return the probabilities (n, K) at a temperature: p^(1/T), scaled to sum to 1.

    They are those of the outputs divided by T, since log p is the output up to a number that the
    classes share. A probability below the least float32 counts as that.
    """
    return np.asarray(np.exp(_logarithms(_clipped(probabilities), temperature)))


def temperature_losses(answers: Answers) -> NDArray[np.float64]:
    """Return for each of `TEMPERATURES` the sum over the images of −log p of the true class."""
    logarithms = _clipped(answers.probabilities)
    images = np.arange(len(answers.labels))
    sums = [_logarithms(logarithms, t)[images, answers.labels].sum() for t in TEMPERATURES]
    return np.maximum(0.0, -np.array(sums))


def best_temperature(losses: NDArray[np.float64]) -> float:
    """Return the temperature of the least loss, 1 without images.

    It is the lowest point of the parabola in log T through the least of the losses and the two
    beside it, or the first or last of `TEMPERATURES` if that has the least loss.

    Args:
        losses: for each of `TEMPERATURES`, over all images.
    """
    if not losses.any():
        return 1.0
    least = int(losses.argmin())
    if least in (0, len(losses) - 1):
        return float(TEMPERATURES[least])
    before, here, after = losses[least - 1 : least + 2]
    curvature = before - 2 * here + after
    steps = (before - after) / (2 * curvature) if curvature > 0 else 0.0
    return float(TEMPERATURES[least] * (TEMPERATURES[1] / TEMPERATURES[0]) ** steps)


def _clipped(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    # As predictions are stored.
    stored = probabilities.astype(np.float32).astype(np.float64)
    return np.asarray(np.log(np.maximum(stored, LEAST)))


def _logarithms(logarithms: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return log softmax of (n, K) logarithms divided by T."""
    divided = logarithms / temperature
    divided -= divided.max(axis=1, keepdims=True)
    return np.asarray(divided - np.log(np.exp(divided).sum(axis=1, keepdims=True)))
