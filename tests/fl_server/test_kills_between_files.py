"""A federated run, killed after any change of any file, ends with the files of an undisturbed one.

Both real apps run in this process; Flower's processes are left out.
"""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.fl_server.clients_in_memory import run_in_memory
from tests.kills import Killed, contents, kept_at_every_change
from training.run_folder import RunFolder

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
    with kept_at_every_change(tmp_path / "again", tmp_path / "killed") as killed:
        run_in_memory(synthetic_ham, cache, tmp_path / "again", **changes)
    expected = contents(tmp_path / "whole")
    assert contents(tmp_path / "again") == expected
    assert len(killed) > 20
    for out in killed:
        run_in_memory(synthetic_ham, cache, out, **changes)
        assert contents(out) == expected, out


def test_killed_while_it_was_judged_a_run_that_becomes_longer_is_the_longer_run(
    synthetic_ham: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a last round all clients validate the model, of any other only the next round's sample;
    with this seed another round would be called the best.
    """
    changes = {
        **{"clients_per_round": 1, "min_replies": 1, "seed": 10, "learning_rate": 0.003},
        **{"partition": "dirichlet", "dirichlet_alpha": 1.0},
    }
    run_in_memory(synthetic_ham, cache, tmp_path / "whole", rounds=5, **changes)
    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_histograms", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            run_in_memory(synthetic_ham, cache, out, rounds=3, **changes)
    assert RunFolder(out).checkpoint.progress().earlier is not None
    run_in_memory(synthetic_ham, cache, out, rounds=5, **changes)
    assert contents(out) == contents(tmp_path / "whole")
