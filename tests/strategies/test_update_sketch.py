"""The error of norms and of sketches' cosines, also for updates whose values have a structure."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.aggregation import CHUNK
from strategies.arrays import to_record
from strategies.update_measures import measure
from strategies.update_sketch import PLACES, Update

SD = 1 / PLACES**0.5
Pair = tuple[NDArray, NDArray]
# The rows of a matrix that is updated; a block has 64.1 of them.
COLUMNS = 4096


def normal(rng: np.random.Generator, size: int) -> Pair:
    return rng.normal(size=size), rng.normal(size=size)


def related(rng: np.random.Generator, size: int) -> Pair:
    common = rng.normal(size=size)
    return common + rng.normal(size=size), common + rng.normal(size=size)


def drifting_apart(rng: np.random.Generator, size: int) -> Pair:
    """All weights of one grow, of the other shrink."""
    return 0.5 + rng.normal(size=size), -0.5 + rng.normal(size=size)


def one_sign(rng: np.random.Generator, size: int) -> Pair:
    return np.ones(size), np.where(rng.random(size) < 0.75, 1.0, -1.0)


def first_step_of_adam(rng: np.random.Generator, size: int) -> Pair:
    """Each weight moves by the learning rate, up or down."""
    first, second = related(rng, size)
    return np.sign(first), np.sign(second)


def one_column(rng: np.random.Generator, size: int) -> Pair:
    """One input of a layer is far larger than the others."""
    first, second = np.zeros(size), np.zeros(size)
    first[3::COLUMNS] = rng.normal(size=first[3::COLUMNS].size)
    second[3::COLUMNS] = rng.normal(size=first[3::COLUMNS].size)
    return first, second


def one_run(rng: np.random.Generator, size: int) -> Pair:
    """One row of a layer, such as a class that only one client has."""
    first, second = np.zeros(size), np.zeros(size)
    first[1000 : 1000 + COLUMNS] = rng.normal(size=COLUMNS)
    second[1000 : 1000 + COLUMNS] = rng.normal(size=COLUMNS)
    return first, second


def outer_products(rng: np.random.Generator, size: int) -> Pair:
    """Gradient of one image: activations, which are positive, times errors."""

    def draw() -> NDArray:
        inputs = np.abs(rng.normal(size=1024))
        return np.outer(rng.normal(size=size // 1024 + 1), inputs).ravel()[:size]

    return draw(), draw()


def cosine(first: NDArray, second: NDArray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_places_are_a_prime_number_of_which_a_block_has_a_multiple() -> None:
    assert CHUNK % PLACES == 0
    assert all(PLACES % divisor for divisor in range(2, int(PLACES**0.5) + 1))


@pytest.mark.parametrize("size", [30_000, 3 * CHUNK])
@pytest.mark.parametrize(
    "draw",
    [
        normal,
        related,
        drifting_apart,
        one_sign,
        first_step_of_adam,
        one_column,
        one_run,
        outer_products,
    ],
)
def test_errors_of_norm_and_cosine(
    draw: Callable[[np.random.Generator, int], Pair], size: int
) -> None:
    """Of 12 pairs, each elsewhere in a model, so with other signs and places. The root mean square
    of 12 errors of standard deviation s is below 1.6 s in 99.9 % of draws (χ²).
    """
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(12):
        before = np.zeros(rng.integers(1, 4 * PLACES), np.float32)
        base = to_record({"before": before, "w": np.zeros(size, np.float32)})
        pair = [(0.001 * update).astype(np.float32) for update in draw(rng, size)]
        found: list[Update] = []
        for update in pair:
            found.append(measure(to_record({"before": before, "w": update}), base))
            assert found[-1].norm == pytest.approx(np.linalg.norm(update.astype("f8")), rel=5e-7)
        exact = cosine(*(update.astype(np.float64) for update in pair))
        errors.append(cosine(*(update.direction.astype(np.float64) for update in found)) - exact)
    assert np.sqrt(np.mean(np.square(errors))) < 1.6 * SD


def test_blocks_with_the_same_values_do_not_add_up() -> None:
    """With one sign for two blocks in the same places, the square would be twice too large."""
    size = 40 * CHUNK
    update = measure(
        to_record({"w": np.ones(size, np.float32)}), to_record({"w": np.zeros(size, np.float32)})
    )
    direction = update.direction.astype(np.float64)
    assert direction @ direction == pytest.approx(1, rel=5 * np.sqrt(2) * SD)


def test_as_many_neighbours_as_places_have_exact_cosines() -> None:
    """A trained head alone, for example, of at most 16,411 weights."""
    base = to_record({"w": np.zeros(PLACES, np.float32)})
    pair = [update.astype(np.float32) for update in related(np.random.default_rng(2), PLACES)]
    found = [measure(to_record({"w": update}), base).direction for update in pair]
    assert cosine(*(direction.astype(np.float64) for direction in found)) == pytest.approx(
        cosine(*pair), abs=1e-5
    )
