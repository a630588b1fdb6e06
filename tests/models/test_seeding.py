"""Torch's global generator, seeded for a while."""

from concurrent.futures import ThreadPoolExecutor

import torch

from models.seeding import seeded_globally


def draw(seed: int) -> list[float]:
    with seeded_globally(seed):
        return [torch.rand(1).item() for _ in range(500)]


def test_it_draws_the_same_and_is_as_it_was_after() -> None:
    before = torch.get_rng_state()
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_do_not_draw_from_each_others_numbers() -> None:
    alone = [draw(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(draw, range(8))) == alone
