"""Norm and direction of each client's update, and the bound on the norm.

A client's update is u_i = w_i − w_glo over all floating-point arrays that are sent, including
BatchNorm's running statistics, since these are averaged too. Integers are ignored.

Its norm ‖u_i‖ is summed in float64 over blocks of float32 products; its relative error is about
10⁻⁶. The cosine to the mean update m = Σ n_i u_i / Σ n_i needs m, which is known only at the end,
when updates that are processed one after the other are no longer in memory. So a sketch of each is
kept: its values with random signs, added up in 16,384 places (Charikar, Chen, Farach-Colton,
Finding Frequent Items in Data Streams, 2002: the expected inner product of two sketches is that of
the vectors). The cosine of the sketches has an error of 1/√16384 = 0.008 (one standard deviation)
or less. The signs are always the same, so that a simulation and a deployment give the same bits.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import CHUNK, blocks, in_threads, mean_into, shares_of
from strategies.arrays import Blank, view, views, writable

# A norm of more than this many times the median of the others' is reported.
OUTLIER = 10.0

_PLACES = 1 << 14
# Products that are summed in the arrays' own dtype.
_PIECE = 1 << 16
_SIGNS_SEED = 2002


@dataclass
class Update:
    """The kept measurements of a client's update, without its weights.

    Attributes:
        square: ‖u_i‖²; infinite or NaN if a weight is.
        sketch: (16384,) float64.
    """

    square: float = 0.0
    sketch: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_PLACES))

    @property
    def norm(self) -> float:
        """‖u_i‖."""
        return math.sqrt(self.square) if self.square >= 0 else math.nan

    def add(self, other: "Update") -> None:
        """Add the measurements of other values of the same client."""
        self.square += other.square
        self.sketch[: other.sketch.size] += other.sketch

    def add_block(self, ours: NDArray, theirs: NDArray, place: tuple[int, int]) -> None:
        """Add a block of a client's values.

        Args:
            ours: at most `CHUNK` weights of the client.
            theirs: the same global weights.
            place: index of the array and of the block in it; each has different signs.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            change = np.subtract(ours, theirs, dtype=np.result_type(ours.dtype, np.float32))
            added = _square(change)
            if not math.isfinite(added):  # beyond float32, or not finite
                change = ours.astype(np.float64) - theirs
                added = _square(change)
            self.square += added
            change *= _signs(place, change.size)
            whole = change.size // _PLACES * _PLACES
            if whole:
                self.sketch += np.add.reduce(change[:whole].reshape(-1, _PLACES), axis=0)
            self.sketch[: change.size - whole] += change[whole:]


def measure(record: ArrayRecord, base: ArrayRecord) -> Update:
    """Measure a client's update. Needs some megabytes.

    Args:
        record: the client's weights.
        base: the global weights that it was sent, with the same names, dtypes and shapes.
    """
    ours, theirs = views(record), views(base)
    number = {name: index for index, name in enumerate(ours)}

    def part_of(share: tuple[str, slice]) -> Update:
        name, part = share
        update = _of_part(part)
        if np.issubdtype(ours[name].dtype, np.floating):
            for block in blocks(part):
                update.add_block(
                    ours[name].reshape(-1)[block],
                    theirs[name].reshape(-1)[block],
                    (number[name], block.start // CHUNK),
                )
        return update

    whole = Update()
    with ThreadPoolExecutor() as threads:
        # In a fixed order, since a sum of floats depends on it.
        for part in threads.map(part_of, shares_of({n: a.size for n, a in ours.items()})):
            whole.add(part)
    return whole


def norm_of(record: ArrayRecord) -> float:
    """Return the L2 norm of a model over the arrays of which an update's norm is."""
    arrays = views(record)

    def square(share: tuple[str, slice]) -> float:
        name, part = share
        values = arrays[name].reshape(-1)
        if not np.issubdtype(values.dtype, np.floating):
            return 0.0
        return sum(_square(values[block].astype(np.float64)) for block in blocks(part))

    with np.errstate(over="ignore", invalid="ignore"), ThreadPoolExecutor() as threads:
        shares = shares_of({name: array.size for name, array in arrays.items()})
        return math.sqrt(sum(threads.map(square, shares)))


def mean_and_updates(
    records: Sequence[ArrayRecord], weights: Sequence[float], base: ArrayRecord
) -> tuple[ArrayRecord, list[Update]]:
    """Return the weighted mean of models that are all in memory, and the measurements of each
    update.

    The same bits as `RunningMean` and `measure` give one after the other. Needs the mean and some
    megabytes.

    Args:
        records: M ≥ 1 models.
        weights: M positive weights.
        base: the global weights that all were sent.

    Raises:
        NotFinite: the mean is NaN or infinite somewhere.
    """
    models, theirs = [views(record) for record in records], views(base)
    blanks = {name: Blank(array.dtype, array.shape) for name, array in models[0].items()}
    number = {name: index for index, name in enumerate(blanks)}

    def part_of(share: tuple[str, slice]) -> list[Update]:
        name, part = share
        out = blanks[name].values.reshape(-1)
        updates = [_of_part(part) for _ in models]
        for block in blocks(part):
            pieces = [model[name].reshape(-1)[block] for model in models]
            mean_into(out[block], pieces, weights)
            if np.issubdtype(out.dtype, np.floating):
                start = theirs[name].reshape(-1)[block]
                for update, piece in zip(updates, pieces, strict=True):
                    update.add_block(piece, start, (number[name], block.start // CHUNK))
        return updates

    whole = [Update() for _ in records]
    with ThreadPoolExecutor() as threads:
        for parts in threads.map(part_of, shares_of({n: a.size for n, a in models[0].items()})):
            for update, part in zip(whole, parts, strict=True):
                update.add(part)
    return ArrayRecord({name: blank.finish() for name, blank in blanks.items()}), whole


def _of_part(part: slice) -> Update:
    """Return an empty update for a part of an array, with as many sums as the part can reach."""
    return Update(sketch=np.zeros(min(_PLACES, part.stop - part.start)))


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


def describe(
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
    mean = np.zeros(_PLACES)
    for client, update in updates.items():
        mean += weights[client] * factors[client] * update.sketch
    return {
        client: {
            "norm": update.norm,
            "cosine": _cosine(update.sketch, mean),
            "times_median": _times_median(client, updates),
            "clipped": factors[client] < 1,
        }
        for client, update in updates.items()
    }


def warnings(updates: Mapping[str, Update], most: float = 0.0) -> list[str]:
    """Return a line about each update that is far larger than the others.

    With three or more clients this means over `OUTLIER` times the median of the others' norms. With
    two, either may be wrong, and both are named.
    """
    bound = f"; clip-updates bounds it to {most:.3g}" if most else ""
    if len(updates) == 2:
        (short, a), (long, b) = sorted(updates.items(), key=lambda item: item[1].norm)
        if b.norm <= OUTLIER * a.norm:
            return []
        return [
            f"the update of {long} (norm {b.norm:.3g}) is {_times(b.norm, a.norm)} that of {short} "
            f"(norm {a.norm:.3g}); with two clients either may be wrong{bound}"
        ]
    lines = []
    for client, update in updates.items():
        others = [other.norm for name, other in updates.items() if name != client]
        if len(others) < 2 or update.norm <= OUTLIER * statistics.median(others):
            continue
        lines.append(
            f"the update of {client} (norm {update.norm:.3g}) is "
            f"{_times(update.norm, statistics.median(others))} the median of the others'{bound}"
        )
    return lines


def _times(norm: float, other: float) -> str:
    if not other:
        return "infinitely many times"
    return f"{float(f'{norm / other:.3g}'):,.0f} times"


def _times_median(client: str, updates: Mapping[str, Update]) -> float | None:
    others = [update.norm for name, update in updates.items() if name != client]
    if len(others) < 2 or not (median := statistics.median(others)):
        return None
    return updates[client].norm / median


def _cosine(ours: NDArray[np.float64], mean: NDArray[np.float64]) -> float | None:
    with np.errstate(all="ignore"):
        lengths = float(np.linalg.norm(ours)) * float(np.linalg.norm(mean))
        cosine = float(np.dot(ours, mean)) / lengths if lengths else math.nan
    return max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None


def _square(change: NDArray) -> float:
    pieces = range(0, change.size, _PIECE)
    return sum(float(np.dot(change[s : s + _PIECE], change[s : s + _PIECE])) for s in pieces)


def _signs(place: tuple[int, int], size: int) -> NDArray[np.float32]:
    """The signs of a block's values: each block has its own part of one long row of signs."""
    array, block = place
    start = (array * 40_503 + block * 2_654_435_761) % CHUNK  # Knuth's multiplicative hash
    return _row_of_signs()[start : start + size]


@lru_cache(maxsize=1)
def _row_of_signs() -> NDArray[np.float32]:
    bits = np.random.default_rng(_SIGNS_SEED).integers(0, 2, 2 * CHUNK, dtype=np.int8)
    return (2 * bits - 1).astype(np.float32)
