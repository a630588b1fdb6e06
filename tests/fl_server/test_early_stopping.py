"""Federated runs with key ``patience``, by both real apps; Flower's processes are left out."""

import shutil
from pathlib import Path

import pytest

from fl_server.federated_run import RunFailed
from fl_server.final_log import final_log_lines
from tests.fl_server.clients_in_memory import Clients, run_in_memory
from training.errors import RunFolderError
from training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("flower_run")

PLANNED = 8
PATIENCE = 1


@pytest.fixture(scope="module")
def whole(synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """All rounds, without patience."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run_in_memory(synthetic_ham, cache, out, rounds=PLANNED)
    return RunFolder(out)


@pytest.fixture(scope="module")
def ended(synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("ended") / "run"
    run_in_memory(synthetic_ham, cache, out, rounds=PLANNED, patience=PATIENCE)
    return RunFolder(out)


def last_round(whole: RunFolder) -> int:
    """Return the round after the first whose model is not better than all before it."""
    figures = [record["validation"]["pooled"]["avg"] for record in whole.rounds()]
    worse = next(n for n in range(1, PLANNED) if figures[n] <= max(figures[:n]))
    return worse + 2  # counted from 1, and known one round later


def test_a_run_ends_one_round_after_the_first_that_is_no_better(
    whole: RunFolder, ended: RunFolder
) -> None:
    last = last_round(whole)
    assert 3 <= last < PLANNED  # or the tests of this file show nothing
    assert ended.metrics()["rounds"] == ended.checkpoint.progress().round == last
    for mine, theirs in zip(ended.rounds(), whole.rounds(), strict=False):
        assert mine["validation"] == theirs["validation"]
    assert len(ended.rounds()) == last
    manifest = ended.manifest()
    assert manifest["status"] == "completed"
    why = f"after round {last} of {PLANNED}: in 1 round (patience) no better validation AVG"
    assert manifest["ended_early"] == why
    assert f"The run ended early, {why}." in list(final_log_lines(ended))
    assert whole.manifest()["ended_early"] is None


def test_resumed_without_patience_it_is_the_whole_run(
    whole: RunFolder, ended: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(ended.path, tmp_path / "run")
    run_in_memory(synthetic_ham, cache, tmp_path / "run", rounds=PLANNED)
    assert RunFolder(tmp_path / "run").metrics() == whole.metrics()
    assert RunFolder(tmp_path / "run").manifest()["ended_early"] is None


def test_resumed_with_more_rounds_it_would_end_where_it_did(ended: RunFolder) -> None:
    last, config = ended.metrics()["rounds"], ended.config()
    ended.check_same(config)
    ended.check_same(config.replace(rounds=last))
    with pytest.raises(RunFolderError, match=f"with patience = 1 the run ends after round {last}"):
        ended.check_same(config.replace(rounds=PLANNED + 1))


def test_a_finished_run_takes_no_patience_that_would_have_ended_it_earlier(
    whole: RunFolder,
) -> None:
    config, last = whole.config(), last_round(whole)
    with pytest.raises(RunFolderError, match=f"ended the run after round {last}, and 8 are done"):
        whole.check_same(config.replace(patience=PATIENCE))
    whole.check_same(config.replace(patience=PLANNED))


@pytest.mark.parametrize("before", [1, 0])
def test_an_interrupted_run_ends_where_the_other_did(
    ended: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path, before: int
) -> None:
    """Interrupted in its last round, and after it, when its last model was just validated."""
    last, out = ended.metrics()["rounds"], tmp_path / "run"
    keys = {"rounds": PLANNED, "patience": PATIENCE}
    if before:
        with pytest.raises(RunFailed, match="not today"):
            run_in_memory(synthetic_ham, cache, out, Clients(refuses=last), **keys)
    else:
        shutil.copytree(ended.path, out)
        RunFolder(out).update_manifest(status="failed")
    run_in_memory(synthetic_ham, cache, out, **keys)
    assert RunFolder(out).metrics() == ended.metrics()
