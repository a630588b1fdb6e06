"""Machines of a Ray cluster, as processes on this one: each in namespaces of its own.

A machine has its own network, host name, processes, and /tmp; of the real /tmp it sees only the
folders that it is given. The networks are connected by a bridge and reach nothing else.
"""

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

SCRIPTS = Path(sysconfig.get_path("scripts"))
PORT = 6379

# What a machine's first process does: it hides the real /tmp, except the folders given as arguments
# before "--", and becomes what follows.
_BEGIN = """
set -e
hostname "$1"; shift
ip link set lo up
mount -t tmpfs tmpfs /mnt
number=0
for folder in $FOLDERS; do
  number=$((number + 1)); mkdir /mnt/$number; mount --bind "$folder" /mnt/$number
done
mount -t tmpfs tmpfs /tmp
number=0
for folder in $FOLDERS; do
  number=$((number + 1)); mkdir -p "$folder"; mount --bind /mnt/$number "$folder"
done
exec "$@"
"""


def why_not() -> str:
    """Return why there can be no such machines here, "" if there can."""
    if lacking := [
        name for name in ("ip", "unshare", "nsenter", "setpriv") if shutil.which(name) is None
    ]:
        return f"not installed here: {', '.join(lacking)}"
    name = f"fedskin-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "exec", name, "unshare", "--uts", "--mount", "--pid", "--fork", "true")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Machines:
    """Up to 200 machines in one network; the first one is the head, and the others join it.

    Args:
        environment: environment variables of all of them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._prefix = f"fedskin-{os.getpid()}"
        self.environment = {**os.environ, **environment}
        self._first: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, str] = {}
        self._started = 0
        self._hub = f"{self._prefix}-hub"
        self.address = f"10.77.0.1:{PORT}"

    def __enter__(self) -> "Machines":
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self._first]:
            self.kill(name)
        subprocess.run(["ip", "netns", "del", self._hub], capture_output=True)

    def start(self, name: str, folders: Sequence[Path], *, cpus: int, **environment: str) -> None:
        """Start a machine that sees these folders of /tmp, and Ray on it.

        Args:
            name: its host name.
            folders: below /tmp.
            cpus: how many cores it says it has.
            environment: more environment variables.
        """
        self._started += 1
        own, address = f"{self._prefix}-{name}", f"10.77.0.{self._started}"
        self._addresses[name] = address
        _ip("netns", "add", own)
        _ip(*("-n", self._hub, "link", "add", name, "type", "veth"), *("peer", "name", "eth0"))
        _ip("-n", self._hub, "link", "set", "eth0", "netns", own)
        _ip("-n", self._hub, "link", "set", name, "master", "bridge", "up")
        _ip("-n", own, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", own, "link", "set", "eth0", "up")
        ray = [str(SCRIPTS / "ray"), "start", "--block", f"--node-ip-address={address}"]
        if self._started == 1:
            ray += ["--head", f"--port={PORT}", "--include-dashboard=false"]
        else:
            ray += [f"--address={self.address}"]
        ray += [f"--num-cpus={cpus}", "--disable-usage-stats", "--object-store-memory=100000000"]
        command = ["setpriv", "--pdeathsig=KILL", "ip", "netns", "exec", own]
        command += ["unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc"]
        command += ["--kill-child", "sh", "-c", _BEGIN, "sh", name]
        self._first[name] = subprocess.Popen(
            [*command, *ray],
            env={**self.environment, "FOLDERS": " ".join(map(str, folders)), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def command(self, name: str, words: Sequence[object]) -> list[str]:
        """Return a command that runs another one on a machine."""
        (first,) = psutil.Process(self._first[name].pid).children()
        enter = ["nsenter", f"--target={first.pid}", "--net", "--uts", "--mount", "--pid"]
        return [*enter, *map(str, words)]

    def wait(self, seconds: float = 120.0) -> None:
        """Wait until Ray's machines are these."""
        code = (
            "import ray\n"
            f"ray.init(address={self.address!r}, log_to_driver=False)\n"
            "print(*[node['NodeManagerAddress'] for node in ray.nodes() if node['Alive']])\n"
        )
        deadline = time.monotonic() + seconds
        head = next(iter(self._first))
        said = ""
        while time.monotonic() < deadline:
            done = subprocess.run(
                self.command(head, [SCRIPTS / "python", "-c", code]),
                capture_output=True,
                text=True,
                env=self.environment,
            )
            said = done.stdout + done.stderr
            if set(done.stdout.split()) == set(self._addresses.values()):
                return
        raise AssertionError(f"not {self._addresses} after {seconds:.0f} s: {said[-1000:]}")

    def kill(self, name: str) -> None:
        """End a machine at once, with all its processes."""
        process = self._first.pop(name)
        del self._addresses[name]
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        # Before its network goes, the others hear that its connections are closed.
        psutil.wait_procs(family, timeout=10)
        subprocess.run(["ip", "netns", "del", f"{self._prefix}-{name}"], capture_output=True)
        subprocess.run(["ip", "-n", self._hub, "link", "del", name], capture_output=True)
