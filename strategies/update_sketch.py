"""What is kept of a client's update: its norm, and a sketch that gives its direction.

An update is u_i = w_i − w_glo over the floating-point arrays that are sent. BatchNorm's running
statistics are no trained weights and are measured apart: in a network that starts from random
weights they move so far in the first rounds that nothing else would show in a norm. So is what a
method carries beside the weights. Integers are ignored.

‖u_i‖² is summed in the arrays' dtype over 4,096 values at a time, then in float64; the relative
error of the norm is about 10⁻⁶. The cosine to the mean update m = Σ n_i u_i / Σ n_i needs m, which
is known only at the end, when updates that are processed one after the other are no longer in
memory. So a sketch of each is kept: its values with random signs, added up in 16,411 places
(Charikar, Chen, Farach-Colton, Finding Frequent Items in Data Streams, 2002: the expected inner
product of two sketches is that of the vectors). The cosine of the sketches has an error of
1/√16411 = 0.008 (one standard deviation) or less. A round keeps one for every client, so of each
only the direction is kept, as float16: 33 kB, which changes a cosine by 10⁻⁵ at most.

Value number i of all arrays in their order is added in place i mod 16411. The number is a prime, so
that up to 16,411 neighbours, and as many values of one column of a matrix, have a place of
their own. Each value has its own sign, because values of updates often agree in sign: with one sign
for a row of values their sums would be the same in all places. The signs of a block are a part of
one long row of random signs, with a random sign before the whole. Two values of different blocks
that are added in the same place never have the same position in the long row, up to 4·10⁹ values:
otherwise so would all that follow, and their products would add up instead of cancelling out. The
signs are always the same, so that a simulation and a deployment give the same bits.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import CHUNK, square

PLACES = CHUNK // 16
_SIGNS_SEED = 2002
# BatchNorm's, by the last part of their names.
_STATISTICS = ("running_mean", "running_var")


class Apart(NamedTuple):
    """Where there is what is measured apart: running statistics, and what a method carries."""

    statistics: Sequence[slice] = ()
    carried: Sequence[slice] = ()


NOTHING = Apart()


@dataclass
class Update:
    """The kept measurements of a client's update, without its weights."""

    square: float = 0.0  # ‖u_i‖²; infinite or NaN if a weight is
    statistics: float = 0.0  # the same of BatchNorm's running statistics
    carried: float = 0.0  # the same of what the method carries beside the weights
    # (16411,) float16: the sketch, divided by the norm; zeros without a finite norm.
    direction: NDArray[np.float16] = field(default_factory=lambda: np.zeros(PLACES, np.float16))

    @property
    def norm(self) -> float:
        """‖u_i‖."""
        return _root(self.square)

    @property
    def statistics_norm(self) -> float:
        """The norm of the update of BatchNorm's running statistics."""
        return _root(self.statistics)

    @property
    def carried_norm(self) -> float:
        """The norm of the update of what the method carries beside the weights."""
        return _root(self.carried)

    @property
    def is_finite(self) -> bool:
        """Whether all values are finite, and so small that their squares are."""
        return all(map(math.isfinite, (self.square, self.statistics, self.carried)))

    @classmethod
    def of_parts(cls, parts: "Iterable[PartOfUpdate]") -> "Update":
        """Return the measurements of all parts of a client's values, added in their order."""
        whole, sketch = cls(), np.zeros(PLACES)
        for part in parts:
            whole.square += part.square
            whole.statistics += part.statistics
            whole.carried += part.carried
            start = part.first % PLACES
            until_end = min(part.sums.size, PLACES - start)
            sketch[start : start + until_end] += part.sums[:until_end]
            sketch[: part.sums.size - until_end] += part.sums[until_end:]
        if whole.norm and whole.is_finite:
            whole.direction = (sketch / whole.norm).astype(np.float16)
        return whole


class PartOfUpdate:
    """Measurements of consecutive values of one array.

    Args:
        first: number of the first value, counted through all arrays of the model.
        block: number of the first block, counted likewise.
        scratch: as many values as a block has, in which differences are computed; its dtype is that
            of the sums.
        size: number of values of the part.

    Attributes:
        square, statistics, carried: see `Update`.
        sums: (n,) the places that the part's values are added in, from that of the first one on.
    """

    def __init__(self, first: int, block: int, scratch: NDArray, size: int) -> None:
        self.first, self._block = first, block
        self.square = self.statistics = self.carried = 0.0
        self.sums = np.zeros(min(PLACES, size), scratch.dtype)
        self._scratch = scratch

    def add_block(self, ours: NDArray, theirs: NDArray, start: int, apart: Apart = NOTHING) -> None:
        """Add a block of the client's values. NumPy's warnings of overflow must be off.

        Args:
            ours: at most `CHUNK` weights of the client.
            theirs: the same global weights.
            start: position of the block in the part, a multiple of `CHUNK`.
            apart: where in the block there is what is measured apart.
        """
        change = self._scratch[: ours.size]
        np.subtract(ours, theirs, out=change, dtype=change.dtype)
        self.statistics += _square_of(ours, theirs, apart.statistics)
        self.carried += _square_of(ours, theirs, apart.carried)
        for span in chain(*apart):
            change[span] = 0
        added = square(change)
        if not math.isfinite(added):  # beyond float32, or not finite
            change = ours.astype(np.float64) - theirs
            for span in chain(*apart):
                change[span] = 0
            added = square(change)
            self.sums = self.sums.astype(np.float64)
        self.square += added
        signs, add = _signs(self.first, self._block + start // CHUNK)
        rows = change.size // PLACES
        whole = rows * PLACES
        if rows:
            table, sign = change[:whole].reshape(rows, -1), signs[:whole].reshape(rows, -1)
            # In one pass, without an array of the products.
            add(self.sums, np.einsum("rp,rp->p", table, sign), out=self.sums)
        if whole < change.size:
            sums = self.sums[: change.size - whole]
            add(sums, change[whole:] * signs[whole : change.size], out=sums)


def _square_of(ours: NDArray, theirs: NDArray, spans: Sequence[slice]) -> float:
    return sum(square(ours[span].astype(np.float64) - theirs[span]) for span in spans)


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def is_running_statistic(name: str) -> bool:
    """Return whether an array with this name is a running mean or variance of BatchNorm."""
    return name.rpartition(".")[2] in _STATISTICS


def _signs(first: int, block: int) -> tuple[NDArray[np.float32], np.ufunc]:
    """Return the signs of a block's values, and whether to add or to subtract their sums.

    Args:
        first: number of a value whose place is that of the block's first value.
        block: number of the block.
    """
    signs, rows, before = _random_signs()
    # start − first differs, modulo the number of places, from that of any other block.
    start = (first + block) % PLACES + PLACES * int(rows[block % PLACES])
    return signs[start : start + CHUNK], np.add if before[block % PLACES] else np.subtract


@lru_cache(maxsize=1)
def _random_signs() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int8]]:
    """Return the long row of signs, and for each block a row to start at and its own sign, 0 or
    1.
    """
    generator = np.random.default_rng(_SIGNS_SEED)
    bits = generator.integers(0, 2, 2 * CHUNK, dtype=np.int8)
    rows = generator.integers(0, CHUNK // PLACES, PLACES)
    before = generator.integers(0, 2, PLACES, dtype=np.int8)
    return (2 * bits - 1).astype(np.float32), rows, before
