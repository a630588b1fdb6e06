"""A whole run in which a hospital missed a round: every figure names the clients behind it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fl_server.federated_config import prepare_simulated
from tests.fl_server.clients_in_memory import ROUNDS, Clients, run_in_memory
from tests.runs import tiny_config
from tests.support import BACKBONE
from training.participation import absences_of
from training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("flower_run")

# The middle one holds what a terminal must not be sent.
SOURCES = ["rosendahl", "vidir\x1b[old]", "vienna"]
NAMES = ["client-0 (rosendahl)", "client-1 (vidir [old])", "client-2 (vienna)"]
MISSING = {NAMES[1]: "not today"}


@pytest.fixture(scope="module")
def run(synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Three rounds, a client per source, two at work at a time; client-1 refuses the second."""
    folder = tmp_path_factory.mktemp("absent")
    data = Path(shutil.copytree(synthetic_ham, folder / "data"))
    (path,) = data.rglob("HAM10000_metadata*")
    table = pd.read_csv(path)
    table["dataset"] = [SOURCES[number % 3] for number in pd.factorize(table["lesion_id"])[0]]
    table.to_csv(path, index=False)
    out = RunFolder(folder / "run")
    changes = {"backbone": BACKBONE, "rounds": ROUNDS, "partition": "source", "min_replies": 2}
    out.create(prepare_simulated(tiny_config(data, cache, run_dir=str(out.path), **changes))[0])
    out.update_manifest(resources={"concurrency": 2})
    run_in_memory(data, cache, out.path, Clients(refuses=2), **changes)
    return out


def test_a_client_has_the_name_of_its_source_wherever_it_is_named(run: RunFolder) -> None:
    described = run.manifest()["clients"]
    assert list(described) == NAMES
    assert [one["source"] for one in described.values()] == [
        name.split("(")[1].removesuffix(")") for name in NAMES
    ]
    sizes = [one[split] for one in described.values() for split in ("train", "validation", "test")]
    assert sum(sizes) == run.manifest()["data"]["images"]
    first, second, third = run.rounds()
    assert list(first["clients"]) == list(third["clients"]) == NAMES
    assert second["failures"] == MISSING
    assert f"round 2: {NAMES[1]}: not today" in run.log_path.read_text(encoding="utf-8")


def test_pooled_figures_name_who_is_missing(run: RunFolder) -> None:
    """Round 1's model is validated with round 2's message, which client-1 refused."""
    first, second, third = [record["validation"] for record in run.rounds()]
    assert first["pooled"]["missing"] == MISSING
    assert NAMES[1] not in first["clients"]
    assert second["pooled"]["missing"] == third["pooled"]["missing"] == {}
    final = run.metrics()
    assert final["client_test"]["missing"] == final["last"]["client_test"]["missing"] == {}
    best = run.rounds()[final["best_round"] - 1]["validation"]["pooled"]
    assert final["validation"] == best


def test_it_is_counted_in_how_many_rounds_each_took_part(run: RunFolder) -> None:
    final = run.metrics()
    assert final["participation"] == dict(zip(NAMES, (3, 2, 3), strict=True))
    said = absences_of(final)
    assert list(said) == [NAMES[1]]
    assert said[NAMES[1]].startswith("in 2 of 3 rounds")


def test_waiting_for_a_turn_is_not_called_transport(run: RunFolder) -> None:
    """Two work side by side: the third begins when the first of them has ended."""
    for record in run.rounds():
        worked = [client["seconds"]["message"] for client in record["clients"].values()]
        seconds = record["seconds"]
        if len(worked) == 2:
            assert seconds["waiting"] == 0
            continue
        busy = max(min(worked[:2]) + worked[2], max(worked[:2]))
        assert seconds["waiting"] == pytest.approx(busy - max(worked))
        assert seconds["transport"] == pytest.approx(seconds["clients"] - busy)
