"""`local`: each client trains, chooses and is judged alone."""

from pathlib import Path

import pytest

from tests.fl_server.clients_in_memory import run_in_memory
from training.run_folder import RunFolder


@pytest.mark.usefixtures("flower_run")
def test_each_client_is_judged_at_its_own_best_round(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """As at the end of a run of so many rounds. No one model was trained, so none is judged."""
    changes = {"strategy": "local", "best_by": "loss", "learning_rate": 0.1}
    found = run_in_memory(synthetic_ham, cache, tmp_path / "long", rounds=4, **changes)
    assert found.keys().isdisjoint({"global_test", "shared"})
    assert not list((tmp_path / "long").glob("predictions-*"))
    assert set(found["best_rounds"]) == set(found["clients"])
    assert len(set(found["best_rounds"].values())) > 1, "the test needs clients that differ"
    validated = [each["validation"]["clients"] for each in RunFolder(tmp_path / "long").rounds()]
    losses = 0.0
    for client, best in found["best_rounds"].items():
        own = [clients[client]["loss"] for clients in validated]
        assert own.index(min(own)) + 1 == best
        losses += min(own) * validated[0][client]["n"]
        short = run_in_memory(
            synthetic_ham, cache, tmp_path / f"of-{client}", rounds=best, **changes
        )
        assert short["last"]["clients"][client] == without_sets(found["clients"][client])
    images = sum(block["n"] for block in validated[0].values())
    assert found["validation"]["loss"] == pytest.approx(losses / images)


def without_sets(block: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in block.items() if name != "sets"}
