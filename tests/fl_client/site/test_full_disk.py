"""A site whose disk is full, with its real processes, in a small file system of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operation.environment import free_port
from tests.fl_client.site.sites import make_site

# The file system is made as small as what it holds, and large again.
SCRIPT = """
set -euo pipefail
site=$1 made=$2 said=$3
shift 3
await() {
  for _ in $(seq 300); do
    tail -n 1 "$said" | grep -q "$1" && return
    sleep 0.2
  done
  cat "$said"
  exit 1
}
mount -t tmpfs -o size=2g none "$site"
cp -a "$made/." "$site"
"$@" site serve "$site" >"$said" 2>&1 &
await "not reachable"
mount -o remount,size=$(($(df --output=used -k "$site" | tail -n 1)))k "$site"
await "No space left on device: '$site/state'"
"$@" site status "$site"
mount -o remount,size=2g "$site"
await "not reachable"
"$@" site status "$site"
find "$site" -name '*.tmp'
kill %1
wait %1
"""


@pytest.mark.slow
def test_it_says_so_and_serves_on_when_there_is_room_again(tmp_path: Path) -> None:
    try_it = ["unshare", "-rm", "true"]
    if shutil.which("unshare") is None or subprocess.run(try_it, capture_output=True).returncode:
        pytest.skip("a small file system needs a mount namespace, which is not permitted here")
    made = make_site(tmp_path, address=f"127.0.0.1:{free_port()}").path
    site, said = tmp_path / "small", tmp_path / "said"
    site.mkdir()
    fedskin = [sys.executable, "-m", "experiments.cli"]
    result = subprocess.run(
        ["unshare", "-rm", "bash", "-c", SCRIPT, "bash", site, made, said, *fedskin],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    states = [line for line in result.stdout.splitlines() if line.startswith("state")]
    assert len(states) == 2
    assert f"{site}: less than 1 GB is free; free disk space" in states[0]
    assert "not reachable" in states[1]
    assert ".tmp" not in result.stdout
    assert "Traceback" not in said.read_text()
