import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import assert_same_bits
from training.checkpoint import Checkpoint, Progress
from training.checkpoint_writer import CheckpointWriter
from training.run_folder import RunFolder
from training.weights import Weights

WAIT = 20.0  # seconds after which a test that hangs fails instead


def weights(round_number: int) -> Weights:
    return {"w": np.full(3, round_number, np.float32)}


def after(round_number: int) -> Progress:
    """Progress after a round, the rounds before it validated."""
    records: list[dict[str, Any]] = [
        {"round": number, "seconds": {}, "validation": {}} for number in range(1, round_number + 1)
    ]
    del records[-1]["validation"]
    return Progress(round=round_number, records=records)


class Gate:
    """Makes checkpoints wait until they are let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        save = Checkpoint.save

        def wait_and_save(checkpoint: Checkpoint, *arguments: Any) -> None:
            self.reached.set()
            assert self.opened.wait(WAIT)
            save(checkpoint, *arguments)

        monkeypatch.setattr(Checkpoint, "save", wait_and_save)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_leaving_the_block_waits_for_the_last_checkpoint(folder: RunFolder) -> None:
    with CheckpointWriter(folder) as writer:
        for number in (1, 2, 3):
            writer.write(after(number), weights(number))
    assert folder.checkpoint.progress().round == 3
    assert_same_bits(folder.checkpoint.weights(3), weights(3))
    assert [record["round"] for record in folder.rounds()] == [1, 2]  # the third is not validated


def test_the_caller_goes_on_while_a_checkpoint_is_written(folder: RunFolder, gate: Gate) -> None:
    with CheckpointWriter(folder) as writer:
        writer.write(after(1), weights(1))
        assert gate.reached.wait(WAIT)
        assert folder.checkpoint.progress().round == 0
        gate.opened.set()
    assert folder.checkpoint.progress().round == 1


def test_a_checkpoint_begins_when_the_one_before_it_is_written(
    folder: RunFolder, gate: Gate
) -> None:
    """So when round 3 is trained, round 1 is on disk, though perhaps not round 2."""
    with CheckpointWriter(folder) as writer:
        writer.write(after(1), weights(1))
        threading.Timer(0.1, gate.opened.set).start()
        writer.write(after(2), weights(2))
        assert folder.checkpoint.progress().round >= 1


def test_how_long_it_took_reaches_the_files_with_the_next_checkpoint(folder: RunFolder) -> None:
    progress = after(1)
    with CheckpointWriter(folder) as writer:
        writer.write(progress, weights(1))
    assert progress.records[0]["seconds"]["checkpoint"] > 0
    assert folder.checkpoint.progress().records[0]["seconds"] == {}


def spoil(folder: RunFolder) -> None:
    """Put a file where the folder of the checkpoints belongs."""
    folder.checkpoint.folder.write_text("")


def test_a_checkpoint_that_cannot_be_written_stops_the_next(folder: RunFolder) -> None:
    spoil(folder)
    with CheckpointWriter(folder) as writer:
        writer.write(after(1), weights(1))
        with pytest.raises(FileExistsError):
            writer.write(after(2), weights(2))


def test_the_last_checkpoint_that_cannot_be_written_is_no_secret(folder: RunFolder) -> None:
    spoil(folder)
    with pytest.raises(FileExistsError), CheckpointWriter(folder) as writer:
        writer.write(after(1), weights(1))


def test_another_error_waits_for_the_checkpoint_and_comes_first(
    folder: RunFolder, gate: Gate
) -> None:

    def fail() -> None:
        with CheckpointWriter(folder) as writer:
            writer.write(after(1), weights(1))
            threading.Timer(0.1, gate.opened.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert folder.checkpoint.progress().round == 1
