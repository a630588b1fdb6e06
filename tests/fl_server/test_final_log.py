"""The end of a run's log."""

from pathlib import Path
from typing import Any

from fl_server.final_log import final_log_lines, superlink_left_running
from tests.support import make_config
from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder


def block(value: float | None) -> dict[str, Any]:
    return {"n": 12, **dict.fromkeys(METRIC_NAMES, value)}


def test_the_figures_are_a_table_of_whole_lines(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config())
    folder.update_manifest(data={"synthetic": True})
    metrics = {
        "best_by": "avg",
        "best_round": 2,
        "rounds": 3,
        "clients": {"client-0": block(10.0), "b\x1b[2J": block(None), "absent": None},
        "client_test": {**block(20.0), "missing": {"absent": "its process died"}},
        "participation": {"client-0": 3, "b\x1b[2J": 3, "absent": 1},
        "global_test": block(30.125),
        "last": {"global_test": block(100.0)},
    }
    folder.write_metrics(metrics)
    first, second, *table = final_log_lines(folder)
    assert first == "the best model by validation AVG, of round 2 of 3, in percent"
    assert "SYNTHETIC" in second
    assert len({len(line) for line in table}) == 1, "the columns stand below one another"
    rows = [line.split() for line in table]
    assert rows[0] == ["test", "split", "of", "n", *(name.upper() for name in METRIC_NAMES)]
    assert rows[1] == ["client-0", "12", *["10.00"] * len(METRIC_NAMES)]
    assert rows[2] == ["b", "[2J", "12", *["–"] * len(METRIC_NAMES)]
    assert rows[-3][:4] == ["2", "of", "3", "clients,"]
    assert rows[-2] == ["global", "test", "set", "12", *["30.12"] * len(METRIC_NAMES)]
    assert rows[-1][:3] == ["last", "model", "12"]
    assert len(rows) == 6


def test_without_a_global_test_set(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config())
    said = {"a": {"synthetic": True}, "b": {"synthetic": False}}
    folder.update_manifest(data={"synthetic": False}, clients=said)
    pooled = {**block(20.0), "missing": {}}
    metrics = {"best_by": "avg", "best_round": 1, "rounds": 1, "client_test": pooled}
    clients = {"clients": {"a": block(10.0)}, "participation": {"a": 1}}
    folder.write_metrics({**metrics, **clients, "last": {}})
    _, note, *table = final_log_lines(folder)
    assert note == "a says that its images are synthetic"
    assert [line.split()[0] for line in table] == ["test", "a", "all"]


def test_the_shared_model_is_in_the_log_beside_the_clients_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config())
    folder.update_manifest(data={"synthetic": False}, clients={})
    pooled, shared = ({**block(value), "missing": {}} for value in (20.0, 40.0))
    metrics = {"best_by": "avg", "best_round": 1, "rounds": 1, "client_test": pooled}
    metrics |= {"clients": {"a": block(10.0)}, "participation": {"a": 1}}
    folder.write_metrics({**metrics, "shared": {"client_test": shared, "clients": {}}})
    *_, own, last = final_log_lines(folder)
    assert own.split()[:5] == ["all", "clients,", "pooled", "12", "20.00"]
    assert last.split()[:7] == ["all", "clients,", "pooled,", "shared", "model", "12", "40.00"]


def test_this_process_is_under_no_superlink() -> None:
    assert superlink_left_running() is None
