"""Logs that are shortened when they are too large."""

import logging
from pathlib import Path

import pytest

from operation import logs
from operation.logs import log_file, shorten_log


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 10)


def test_a_short_log_or_none_is_left_alone(tmp_path: Path) -> None:
    shorten_log(tmp_path / "log")
    (tmp_path / "log").write_text("0123456789")
    shorten_log(tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_who_has_it_open_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as program:
        program.write(b"0123456789a")
        shorten_log(path)
        program.write(b"next")
    assert path.read_bytes() == b"next"
    assert (tmp_path / "log.1").read_bytes() == b"0123456789a"


def test_it_ends_also_where_there_is_no_room_for_the_old(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789a")
    (tmp_path / "log.1").mkdir()  # cannot be written
    with pytest.raises(OSError):
        shorten_log(path)
    assert path.stat().st_size == 0


def test_what_a_full_disk_does_not_take_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """The same lines are on the terminal, where a traceback for each would hide them."""
    handler = log_file(Path("/dev/full"))
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "first", None, None))
    assert capsys.readouterr().err == ""
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None))
    assert "TypeError" in capsys.readouterr().err
    with pytest.raises(OSError):
        handler.close()


def test_a_log_file_keeps_so_many_older_ones(tmp_path: Path) -> None:
    handler = log_file(tmp_path / "log", older=2)
    for word in ("first...", "second..", "third...", "fourth.."):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, word, None, None))
    handler.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert (tmp_path / "log.2").read_text() == "second..\n"
