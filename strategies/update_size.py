"""The norms and directions of a round's updates in its record, the warning about an update that is
far larger than the others, and the bound on the norm.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import blocks, dot, in_threads, square
from strategies.arrays import view, views, writable
from strategies.update_sketch import PLACES, Update

# A norm of more than this many times the median of the others' is reported.
OUTLIER = 10.0


def clip_factor(norm: float, most: float) -> float:
    """Return the factor that scales an update to at most the norm ``most``; 0 means no limit."""
    return most / norm if 0 < most < norm else 1.0


def clipped(record: ArrayRecord, base: ArrayRecord, factor: float) -> ArrayRecord:
    """Return w_glo + factor·(w_i − w_glo), with w_i's integers, each value computed in float64.

    Sun et al., Can You Really Backdoor Federated Learning?, 2019, section 3 (norm thresholding).
    If the record's bytes are writable it is changed in place; otherwise the result is a copy.
    """
    result = ArrayRecord()  # whose constructor would copy the arrays
    for name, array in record.items():
        result[name] = writable(array)
    ours = {name: view(array).reshape(-1) for name, array in result.items()}
    theirs = {name: array.reshape(-1) for name, array in views(base).items()}

    def shorten(name: str, part: slice) -> None:
        if not np.issubdtype(ours[name].dtype, np.floating):
            return
        for block in blocks(part):
            values, start = ours[name][block], theirs[name][block].astype(np.float64)
            np.add(start, factor * (values - start), out=values, casting="same_kind")

    in_threads({name: array.size for name, array in ours.items()}, shorten)
    return result


def describe_updates(
    updates: Mapping[str, Update], weights: Mapping[str, float], most: float = 0.0
) -> dict[str, dict[str, float | bool | None]]:
    """Return the entries of a round's record about each client's update.

    Args:
        updates: by client, all finite.
        weights: n_i by client.
        most: ``clip-updates``.

    Returns:
        By client: ``norm``, before clipping; ``cosine`` to the mean of the averaged updates, None
        if one of the two is zero; ``times_median``, its norm divided by the median of the others'
        norms, None with fewer than two others or if that median is zero; and ``clipped``.
    """
    if not updates:
        return {}
    factors = {client: clip_factor(update.norm, most) for client, update in updates.items()}
    others = _medians_of_others({client: update.norm for client, update in updates.items()})
    mean = np.zeros(PLACES)
    for client, update in updates.items():
        length = weights[client] * factors[client] * update.norm
        mean += length * update.direction.astype(np.float64)
    return {
        client: {
            "norm": update.norm,
            "cosine": _cosine(update.direction.astype(np.float64), mean),
            "times_median": update.norm / others[client] if others.get(client) else None,
            "clipped": factors[client] < 1,
        }
        for client, update in updates.items()
    }


def warnings(updates: Mapping[str, Update], most: float = 0.0) -> list[str]:
    """Return a line about each update that is far larger than the others, and about each whose
    running statistics, or what the method carries beside the weights, moved far further.

    With three or more clients this means over `OUTLIER` times the median of the others' norms. With
    two, either may be wrong, and both are named.
    """
    bound = f"; clip-updates bounds it to {most:.3g}" if most else ""
    norms = {client: update.norm for client, update in updates.items()}
    moved = {client: update.statistics_norm for client, update in updates.items()}
    carried = {client: update.carried_norm for client, update in updates.items()}
    return [
        *(line + bound for line in _outliers("the update of", norms)),
        *_outliers("the change of BatchNorm's running statistics at", moved),
        *_outliers("the change of what the method carries beside the weights at", carried),
    ]


def _outliers(what: str, norms: Mapping[str, float]) -> list[str]:
    if len(norms) == 2:
        (short, a), (long, b) = sorted(norms.items(), key=lambda item: item[1])
        if b <= OUTLIER * a:
            return []
        return [
            f"{what} {long} (norm {b:.3g}) is {_times(b, a)} that of {short} "
            f"(norm {a:.3g}); with two clients either may be wrong"
        ]
    return [
        f"{what} {client} (norm {norms[client]:.3g}) is "
        f"{_times(norms[client], median)} the median of the others'"
        for client, median in _medians_of_others(norms).items()
        if norms[client] > OUTLIER * median
    ]


def _times(norm: float, other: float) -> str:
    if not other:
        return "infinitely many times"
    return f"{float(f'{norm / other:.3g}'):,.0f} times"


def _medians_of_others(norms: Mapping[str, float]) -> dict[str, float]:
    """Return for each client the median of the others' norms; empty with fewer than two others.

    All are sorted once: with a median of its own for each, 1,000 clients take most of a second.
    """
    if len(norms) < 3:
        return {}
    ordered = sorted(norms.values())
    lower, upper = (len(norms) - 2) // 2, (len(norms) - 1) // 2  # the same if the others are odd
    found = {}
    for client, norm in norms.items():
        own = bisect_left(ordered, norm)
        low, high = (ordered[place + (place >= own)] for place in (lower, upper))
        found[client] = low if lower == upper else (low + high) / 2
    return found


def _cosine(ours: NDArray[np.float64], mean: NDArray[np.float64]) -> float | None:
    with np.errstate(all="ignore"):
        lengths = math.sqrt(square(ours)) * math.sqrt(square(mean))
        cosine = dot(ours, mean) / lengths if lengths else math.nan
    return max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None
