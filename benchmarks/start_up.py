"""A real ``fedskin simulate`` as a process, with the times of its steps before training."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.run_folder import RunFolder

LOOK_SECONDS = 0.02
# The command, also where fedskin is only on Python's path, not installed.
FEDSKIN = (sys.executable, "-m", "fedskin")
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class StartUp:
    """Seconds from the start of the command, read from the run folder every 20 ms.

    Attributes:
        submitted: the image store is open, and Flower's and Ray's processes are asked for. The
            libraries are being imported since the config was read.
        server_app_running: the ServerApp is in the manifest: the libraries are imported, SuperLink
            and Ray have started, and the app was called.
        clients_asked: the data is read, and the first messages are sent.
        clients_answered: every client, a Ray actor, has started and replied.
        training_sent: the messages of round one are sent.
        first_step: latest time of the first training step: ``training_sent`` plus the time of round
            one's clients together minus the longest training. It includes the return of that reply.
    """

    submitted: float
    server_app_running: float
    clients_asked: float
    clients_answered: float
    training_sent: float
    first_step: float

    @property
    def flower(self) -> float:
        """Seconds from the run's submission until every client answered its first message."""
        return self.clients_answered - self.submitted


def run_command(config: Path, folder: RunFolder, cwd: Path) -> StartUp:
    """Run ``fedskin simulate CONFIG --out FOLDER`` to its end.

    Args:
        config: TOML file.
        folder: created by the command.
        cwd: working directory of the command.

    Raises:
        RuntimeError: the run failed; contains its output.
    """
    command = [
        *FEDSKIN,
        *("simulate", str(config), "--out", str(folder.path)),
    ]
    output = cwd / "output.txt"
    with output.open("wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cwd
        )
        try:
            times = _watch(process, folder, started)
            status = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(STOP_SECONDS)
    if status != 0 or "training_sent" not in times:
        raise RuntimeError(f"fedskin simulate ended with {status}:\n{output.read_text()}")
    first = folder.rounds()[0]
    training = max(client["seconds"]["training"] for client in first["clients"].values())
    times["first_step"] = times["training_sent"] + first["seconds"]["clients"] - training
    return StartUp(**times)


def _watch(process: subprocess.Popen[bytes], folder: RunFolder, started: float) -> dict[str, float]:
    """Record when each step is reached; stop once training has begun, so as not to slow it down."""
    signs: dict[str, Callable[[dict[str, Any]], bool]] = {
        "submitted": lambda manifest: "phase" in manifest,
        "server_app_running": lambda manifest: bool(manifest.get("server")),
        "clients_asked": lambda manifest: manifest.get("phase") == "starting the clients",
        "clients_answered": lambda manifest: "clients" in manifest,
        "training_sent": lambda manifest: manifest.get("phase") == "training",
    }
    times: dict[str, float] = {}
    while process.poll() is None and "training_sent" not in times:
        manifest = folder.manifest()
        now = time.perf_counter() - started
        # A step that was over before it was seen was reached no later than the next one.
        reached = [sign(manifest) for sign in signs.values()]
        for position, name in enumerate(signs):
            if name not in times and any(reached[position:]):
                times[name] = now
        time.sleep(LOOK_SECONDS)
    return times
