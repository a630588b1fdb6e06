"""The loss at fixed temperatures: sums over images, in a reply, from which a temperature is fitted.

In the final evaluation a client that sends histograms also sends ``validation-temperature-losses``:
for each of `TEMPERATURES` the sum over its validation images of −log softmax(z / T) at the true
class, z being the network's outputs. The sums over clients are those of the pooled images.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from strategies.field_kinds import MAX_CLASSES, Reals
from strategies.histograms import FIELDS
from strategies.refusal import Refused

# From 1/8 to 8, 9 % apart.
TEMPERATURES = 2.0 ** (np.arange(-24, 25) / 8)
FIELD = "temperature-losses"
# The smallest float32 above 0: a probability below it counts as this.
LEAST = 2.0**-149

# Sums of many losses are rounded.
_ROUNDING = 1e-6


def losses_kind(most_examples: int) -> Reals:
    """Return what the field of a split with at most so many images may be."""
    worst = math.log(MAX_CLASSES) - math.log(LEAST) / float(TEMPERATURES[0])
    return Reals(len(TEMPERATURES), most_examples * worst)


def check_losses(split: str, metrics: Mapping[str, Any]) -> None:
    """Check the sums of a split, each of them in its range.

    An image's loss is a convex function of 1/T (a linear function and a logarithm of a sum of
    exponentials), and so is their sum.

    Raises:
        Refused: they are there without the split's histograms, or these without them, or they are
            not the sums of any images.
    """
    name = f"{split}-{FIELD}"
    if (name in metrics) != (f"{split}-{FIELDS[0]}" in metrics):
        raise Refused(f"its metrics have only one of its {split}'s histograms and {name}")
    if name not in metrics:
        return
    losses = np.array(metrics[name])
    slopes = np.diff(losses) / np.diff(1 / TEMPERATURES)  # at falling 1/T
    if (np.diff(slopes) > _ROUNDING * (1 + losses.max())).any():
        raise Refused(f"its {name} are not those of any images")
