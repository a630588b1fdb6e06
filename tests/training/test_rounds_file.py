"""``rounds.jsonl`` while it grows, after kills, and as others read it meanwhile."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.errors import RunFolderError
from training.rounds_file import NewLines, RoundsFile


def records(validated: int, done: int | None = None) -> list[dict[str, Any]]:
    """Of `done` finished rounds, of which the first ones are validated."""
    found: list[dict[str, Any]] = [
        {"round": number, "validation": {"avg": 50.5}} for number in range(1, validated + 1)
    ]
    return found + [{"round": number} for number in range(validated + 1, (done or validated) + 1)]


@pytest.fixture
def file(tmp_path: Path) -> RoundsFile:
    """Of a run that has finished its first round."""
    file = RoundsFile(tmp_path / "rounds.jsonl")
    file.add(records(0, 1))
    return file


def in_file(file: RoundsFile) -> list[int]:
    return [record["round"] for record in file.read(growing=True)]


def test_a_line_is_added_once_its_round_is_validated(file: RoundsFile) -> None:
    assert in_file(file) == []
    assert file.count() == 0
    for number in (1, 2, 3):
        file.add(records(number - 1, number))
        assert in_file(file) == list(range(1, number))
        assert file.count() == number - 1
    file.add(records(3))
    file.add(records(3))  # which has its line
    assert list(file.read(growing=False)) == records(3)
    assert [json.loads(line) for line in file.path.read_text().splitlines()] == records(3)


def test_lines_that_are_there_are_neither_read_nor_written_again(file: RoundsFile) -> None:
    file.add(records(1, 2))
    file.path.write_bytes(b"\xff" * 10)  # which nobody looks at
    file.add(records(2, 3))
    assert file.path.read_bytes() == b"\xff" * 10 + json.dumps(records(2)[1]).encode() + b"\n"


@pytest.mark.parametrize("left", ["{", '{"round": 3, "validation": {"avg": 1.0}}\n'])
def test_what_a_killed_process_left_is_cut_off(file: RoundsFile, left: str) -> None:
    """It added round 3, wholly or in part; the checkpoint does not know it as validated."""
    file.add(records(1, 2))
    file.add(records(2, 3))
    with file.path.open("a") as opened:
        opened.write(left)
    again = RoundsFile(file.path)
    again.add(records(2, 3))
    assert in_file(again) == [1, 2]
    again.add(records(3, 4))
    assert list(again.read(growing=False)) == records(3)


def test_a_validation_that_is_taken_back_has_no_line(file: RoundsFile) -> None:
    """In a longer run others validate the round that was the last."""
    file.add(records(1, 2))
    file.add(records(2))
    again = RoundsFile(file.path)
    again.add(records(1, 2))
    assert in_file(again) == [1]


def test_after_an_addition_that_failed_the_next_one_cuts(
    file: RoundsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, on which a part of a line has room."""

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:5])
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("training.rounds_file.append_bytes", full)
        with pytest.raises(OSError):
            file.add(records(1, 2))
    file.add(records(0, 1))  # what a resumed run does first
    assert in_file(file) == []
    file.add(records(1, 2))
    assert list(file.read(growing=False)) == records(1)


@pytest.mark.parametrize("lines", [b"", b'{"round": 1}\n', b'{"round": 1}\n{"round": 2}'])
def test_a_file_without_earlier_rounds_is_refused(file: RoundsFile, lines: bytes) -> None:
    file.path.write_bytes(lines)
    again = RoundsFile(file.path)
    with pytest.raises(RunFolderError, match=r"rounds.jsonl: lacks rounds before round 3; copy"):
        again.add(records(2, 3))
    assert file.path.read_bytes() == lines


def test_an_unfinished_line_is_damage_once_nobody_writes(file: RoundsFile) -> None:
    file.path.write_bytes(b'{"round": 1}\n{"rou')
    assert in_file(file) == [1]
    assert file.count() == 1
    with pytest.raises(RunFolderError, match=r"rounds.jsonl, line 2: is damaged"):
        list(file.read(growing=False))


def test_a_reader_gets_every_finished_line_once(file: RoundsFile) -> None:
    new = NewLines(file.path)

    def rounds() -> list[int]:
        return [json.loads(line)["round"] for line in new.read()]

    assert rounds() == []
    file.add(records(1, 2))
    assert rounds() == [1]
    file.add(records(2, 3))
    with file.path.open("a") as opened:
        opened.write('{"round": 3, "valid')
    assert rounds() == [2]
    assert rounds() == []
    with file.path.open("a") as opened:
        opened.write('ation": {}}\n')
    assert rounds() == [3]


def test_a_reader_of_a_file_that_was_cut_begins_anew(file: RoundsFile) -> None:
    """What it knows of the bytes is of another file then."""
    file.add(records(1, 2))
    file.add(records(2, 3))
    new = NewLines(file.path)
    with file.path.open("a") as opened:
        opened.write('{"round": 3, "valid')
    assert len(new.read()) == 2
    again = RoundsFile(file.path)
    again.add(records(2, 3))
    again.add(records(3, 4))
    assert [json.loads(line) for line in new.read()] == records(3)
