from itertools import combinations, product

import numpy as np
import pytest
import torch

from training.randomness import derive_seed, layer_randomness, sample_clients

CPU = torch.device("cpu")


def seed_of(seed: int = 0, round_number: int = 1, client_index: int = 0, purpose: str = "x") -> int:
    return derive_seed(seed, round_number=round_number, client_index=client_index, purpose=purpose)


def test_a_seed_is_the_same_on_every_machine_and_for_ever() -> None:
    """SeedSequence([7, 3, 2, *b"batches"]), first 64 bits, halved: else old runs do not repeat."""
    entropy = [7, 3, 2, 98, 97, 116, 99, 104, 101, 115]
    expected = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) // 2
    assert seed_of(7, 3, 2, "batches") == expected == 5_301_738_615_328_914_952


def test_every_seed_round_client_and_purpose_has_its_own() -> None:
    purposes = ("batches", "layers", "layer", "s")
    drawn = [seed_of(*numbers) for numbers in product(range(4), range(5), range(6), purposes)]
    assert len(set(drawn)) == 4 * 5 * 6 * 4
    assert all(0 <= number < 2**63 for number in drawn)


def test_torch_and_numpy_take_the_largest_experiment_seed() -> None:
    number = seed_of(2**31 - 1, 10**6, 10**4, "batches")
    assert torch.Generator().manual_seed(number).initial_seed() == number
    assert np.random.default_rng(number).bit_generator.seed_seq.entropy == number


def sample(round_number: int, clients: int = 5, size: int = 2, seed: int = 3) -> list[int]:
    return sample_clients(seed, round_number=round_number, clients=clients, size=size)


def test_each_client_is_sampled_equally_often() -> None:
    """In 2 of 5 of 2,000 rounds, up to five standard deviations; and 2 of 5 are 10 pairs."""
    drawn = [sample(number) for number in range(1, 2001)]
    assert {tuple(pair) for pair in drawn} == set(combinations(range(5), 2))
    times = np.bincount(np.ravel(drawn), minlength=5)
    assert (abs(times - 800) < 5 * np.sqrt(2000 * 0.4 * 0.6)).all()


def test_a_sample_is_that_of_its_seed_and_round() -> None:
    """Whatever was drawn before, so that a resumed run goes on as it would have."""
    assert sample(7) == sample(7)
    assert sample(1, 1000, 500) != sample(2, 1000, 500) != sample(2, 1000, 500, seed=4)
    assert sample(1, 4, 4) == [0, 1, 2, 3]


def test_layers_draw_from_the_seed_and_the_global_generator_is_put_back() -> None:
    torch.manual_seed(3)
    expected_after = torch.rand(4)
    torch.manual_seed(3)
    with layer_randomness(11, CPU):
        first = torch.rand(4)
    after = torch.rand(4)
    with layer_randomness(11, CPU):
        again = torch.rand(4)
    with layer_randomness(12, CPU):
        other = torch.rand(4)
    assert torch.equal(after, expected_after)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_generator_is_put_back_after_an_error_too() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), layer_randomness(11, CPU):
        torch.rand(1 // 0)
    assert torch.equal(torch.get_rng_state(), before)
