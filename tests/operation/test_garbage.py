"""Prompt garbage collection in a process with many old objects."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, sys, weakref
from operation.garbage import collect_promptly

class Cycle:
    pass

old = [[] for _ in range(500_000)]  # as the libraries of a server
gc.collect()
if sys.argv[1] == "promptly":
    collect_promptly()
cycle = Cycle()
cycle.itself, held = cycle, weakref.ref(cycle)
gc.collect(0), gc.collect(1)  # it is old by now, as a body that took a while to come
del cycle
new = [[] for _ in range(20_000)]
print(held() is None)
"""


@pytest.mark.parametrize("how, gone", [("promptly", "True"), ("by default", "False")])
def test_a_cycle_goes_before_a_quarter_of_all_objects_is_new(how: str, gone: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == gone
