"""A federated run, killed after any change of any file, ends with the files of an undisturbed one.

Both real apps run in this process; Flower's processes are left out.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.fl_server.clients_in_memory import run_in_memory
from tests.kills import Killed, contents, killed_after

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("flower_run")]


@pytest.mark.parametrize(
    "changes",
    [
        # The norm that is clipped is a sum over all arrays, so it depends on their order.
        {"strategy": "fedavg", "clip_updates": 0.3, "client_optimizer": "persistent"},
        {"strategy": "scaffold", "optimizer": "sgd"},
        {"strategy": "ditto", "clients_per_round": 2, "min_replies": 2},
        {"strategy": "fedadam", "wire_format": "int8", "ema_decay": 0.5},
        {"strategy": "krum", "byzantine_clients": 0},
    ],
    ids=lambda changes: str(changes["strategy"]),
)
def test_a_kill_at_any_moment_changes_no_file(
    synthetic_ham: Path, cache: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    changes = {"rounds": 2, **changes}
    run_in_memory(synthetic_ham, cache, tmp_path / "whole", **changes)  # also fills the cache
    with killed_after() as undisturbed:
        run_in_memory(synthetic_ham, cache, tmp_path / "again", **changes)
    expected = contents(tmp_path / "whole")
    assert contents(tmp_path / "again") == expected
    for moment in range(undisturbed.done):
        out = tmp_path / f"killed-{moment}"
        with killed_after(moment), pytest.raises(Killed):
            run_in_memory(synthetic_ham, cache, out, **changes)
        run_in_memory(synthetic_ham, cache, out, **changes)
        assert contents(out) == expected, moment
