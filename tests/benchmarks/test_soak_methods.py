"""What the soak test of the methods kills and runs; its results are not tested here."""

import random

from benchmarks.disturbed_run import CONFIG
from benchmarks.hospitals_here import NAMES, VICTIMS
from benchmarks.method_kills import CROWDS, KILLS, chosen, settings_of
from benchmarks.soak_methods import in_order
from strategies.methods import METHODS
from training.config import parse


def test_victims_are_of_every_kind_and_of_every_hospital() -> None:
    hospitals = set()
    for seed in range(10):
        victims = chosen(NAMES, random.Random(seed))
        assert len(victims) == KILLS
        assert {part for _, part in victims} == {part for _, part in VICTIMS}
        at_coordinator = {part for name, part in victims if name == "coordinator"}
        assert at_coordinator == {part for name, part in VICTIMS if name == "coordinator"}
        hospitals |= {name for name, _ in victims} - {"coordinator"}
        assert victims == chosen(NAMES, random.Random(seed))
    assert hospitals == {*NAMES}


def test_every_method_is_run_with_valid_settings_those_with_a_state_first() -> None:
    names = in_order()
    assert {*names} == {*METHODS.own}
    for name in names:
        parse({**CONFIG, "clients": 3, "min-replies": 3, **settings_of(name)})
    for name, crowd in CROWDS.items():
        config = parse({**CONFIG, **settings_of(name, crowd)})
        assert METHODS[name].least_replies(config.to_flat()) <= crowd
    states = [bool(METHODS[name].server_init or METHODS[name].client_state) for name in names]
    assert not any(states[names.index("fedavg") :])
