"""A folder is served by one process; leftovers of a killed one do not disturb the next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operation.errors import OperationError
from operation.processes import TOKEN, ProcessId, processes_of
from operation.serving import serve_folder, serving
from tests.operation.test_processes import SLEEP
from tests.runs import wait_until

SERVE = """
import os, subprocess, sys, time
from pathlib import Path
from operation.processes import TOKEN
from operation.serving import serve_folder
with serve_folder(Path(sys.argv[1])) as (token, home):
    subprocess.Popen(%r, env={**os.environ, TOKEN: token}, start_new_session=True)
    print(token, home, flush=True)
    time.sleep(60)
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], str, Path]:
    """Serve a folder in another process, which starts one more."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE % SLEEP, folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    token, home = process.stdout.readline().split()
    return process, token, Path(home)


def test_who_serves_is_known_to_others(tmp_path: Path) -> None:
    assert serving(tmp_path) is None
    with serve_folder(tmp_path) as (token, home):
        now = serving(tmp_path)
        assert now is not None
        assert (now.process, now.token) == (ProcessId.own(), token)
        assert home.is_dir()
    assert serving(tmp_path) is None
    assert not home.exists()


def test_everything_ends_with_the_block(tmp_path: Path) -> None:
    with serve_folder(tmp_path) as (token, _):
        child = subprocess.Popen(SLEEP, env={**os.environ, TOKEN: token}, start_new_session=True)
    assert not processes_of(token)
    child.wait(20)


def test_a_second_one_is_refused_by_name(tmp_path: Path) -> None:
    process, token, _ = start(tmp_path)
    try:
        with (
            pytest.raises(OperationError, match=f"process {process.pid} already serves it"),
            serve_folder(tmp_path),
        ):
            pass
        wait_until(lambda: processes_of(token))  # the first one's processes are left alone
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: not processes_of(token))


def test_after_a_kill_the_folder_is_free_and_its_processes_are_gone(tmp_path: Path) -> None:
    process, token, home = start(tmp_path)
    process.kill()
    process.communicate()
    assert serving(tmp_path) is None
    with serve_folder(tmp_path) as (new, _):
        assert new != token
        assert not processes_of(token)
    wait_until(lambda: not home.exists())


def test_a_damaged_note_is_said(tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_text("[]")
    with pytest.raises(OperationError, match=r"serving.json: is damaged"):
        serving(tmp_path)
