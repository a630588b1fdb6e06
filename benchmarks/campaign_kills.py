"""A small campaign, killed with -9 at a random moment and started again: is its ledger the same?"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from data_partition.synthetic_ham10000 import write_ham10000
from experiments.campaigns.ledger import read_ledger

# A federated and a centralized trial with several rounds, and two heads on one network.
CAMPAIGN = """
name = "kills"
cpus-per-trial = 1

[base]
dataset = "ham10000"
pretrained = false
backbone = "resnet18"
image-size = 32
batch-size = 8
text-encoder = "ViT-B/32"
device = "cpu"

[[part]]
command = "simulate"
base = {rounds = 4, client-optimizer = "persistent", optimizer = "adam"}

[[part]]
command = "clip"
base = {epochs = 4}

[[part]]
command = "heads"
base = {epochs = 3}
grid = {knn-neighbors = [1, 5]}
"""

# What may differ in the ledger after a second attempt or on another machine.
MEASURED = [
    *("seconds", "seconds_transport", "seconds_waiting", "peak_memory"),
    *("started", "finished", "host"),
]

# Time limit of a campaign in seconds.
_LIMIT = 420


@dataclass(frozen=True)
class Kill:
    """Which process was killed, and when.

    Attributes:
        moment: seconds after the start.
        victim: description of the process.
    """

    moment: float
    victim: str


def prepare(folder: Path) -> None:
    """Write the campaign file and its synthetic images, 60 of them for training."""
    write_ham10000(folder / "ham10000", images=60, seed=0)
    (folder / "kills.toml").write_text(CAMPAIGN, encoding="utf-8")


def run_campaign(folder: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the campaign; its output goes to a file next to ``out``."""
    with out.with_suffix(".output").open("ab") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "experiments.cli", "campaign", "run"),
                *(str(folder / "kills.toml"), "--out", str(out), *options),
                *("--data", f"ham10000={folder / 'ham10000'}"),
                *("-c", f"cache-dir={folder / 'cache'}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes]) -> int:
    """Wait for a campaign and return its exit status; kill it on Ctrl-C or at the time limit."""
    try:
        return process.wait(_LIMIT)
    except BaseException:
        process.kill()
        process.wait()
        raise


def undisturbed(folder: Path) -> tuple[float, pd.DataFrame]:
    """Run the campaign without a kill; return its duration in seconds and its ledger."""
    began = time.monotonic()
    status = finish(run_campaign(folder, folder / "undisturbed"))
    took = time.monotonic() - began
    if status != 0:
        raise RuntimeError((folder / "undisturbed.output").read_text(encoding="utf-8"))
    return took, comparable(folder / "undisturbed")


def disturb(folder: Path, out: Path, *, seed: int, seconds: float) -> Kill:
    """Kill a campaign once, then run it again until it is complete.

    Args:
        folder: see `prepare`.
        out: a new folder for this campaign.
        seed: decides the moment and the victim: the campaign alone, its process group, or one of
            its child processes, direct or not.
        seconds: duration of the campaign without a kill; the moment of the kill lies within it.

    Raises:
        RuntimeError: it fails; contains its output.
    """
    generator = random.Random(seed)
    moment = generator.uniform(0.05, 0.95) * seconds
    process = run_campaign(folder, out)
    time.sleep(moment)
    kill = Kill(moment, _kill(process, generator))
    finish(process)
    # If the victim was not the campaign itself, the campaign continued, and may have failed.
    status = finish(run_campaign(folder, out, "--retry-failed"))
    if status != 0:
        raise RuntimeError(out.with_suffix(".output").read_text(encoding="utf-8"))
    return kill


def comparable(campaign: Path) -> pd.DataFrame:
    """Return the ledger without the columns that another attempt may change."""
    ledger = read_ledger(campaign)
    if ledger.set_aside:
        raise RuntimeError(f"{campaign}: {ledger.set_aside}")
    places = ["config.data-dir", "config.cache-dir", "config.run-dir"]
    return ledger.table.drop(columns=[*MEASURED, *places])


def _kill(process: subprocess.Popen[bytes], generator: random.Random) -> str:
    whom = generator.choice(["the campaign", "its group", "one of its processes"])
    if process.poll() is not None:
        return "nobody: it was already finished"
    if whom == "the campaign":
        process.kill()
    elif whom == "its group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        family = psutil.Process(process.pid).children(recursive=True)
        if not family:
            process.kill()
            return "the campaign: no process started yet"
        victim = generator.choice(sorted(family, key=lambda member: member.pid))
        try:
            whom = " ".join(Path(word).name for word in victim.cmdline()[:4]) or victim.name()
            victim.kill()
        except psutil.NoSuchProcess:
            return "nobody: the process had just ended"
    return whom
