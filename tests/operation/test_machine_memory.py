"""How much memory there is, on a machine and in a container."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from operation import machine_memory as module
from operation.machine_memory import machine_memory

GB = 10**9
# A container's 8 GB, of which programs use 3 and pages of files 2.
CONTAINER = {
    "memory.max": f"{8 * GB}\n",
    "memory.current": f"{5 * GB}\n",
    "memory.stat": f"anon {3 * GB}\nactive_file {GB}\ninactive_file {GB}\n",
}


@pytest.mark.parametrize(
    "group, total, free",
    [
        ({}, 64, 40),  # none
        ({**CONTAINER, "memory.max": "max\n"}, 64, 40),
        (CONTAINER, 8, 5),
        ({**CONTAINER, "memory.max": f"{100 * GB}"}, 64, 40),  # more than the machine has
        ({**CONTAINER, "memory.max": f"{2 * GB}"}, 2, 0),  # lowered since
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: dict[str, str], total: int, free: int
) -> None:
    machine = SimpleNamespace(total=64 * GB, available=40 * GB)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(module, "_GROUP", tmp_path)
    for name, text in group.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    assert machine_memory() == (total * GB, free * GB)
