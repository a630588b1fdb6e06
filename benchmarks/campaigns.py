"""The costs of a campaign: trials in parallel, gaps between trials, and a finished campaign."""

import itertools
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import joblib

from benchmarks.result import Result
from benchmarks.start_up import FEDSKIN, LOOK_SECONDS
from data_partition.synthetic_ham10000 import write_ham10000
from experiments.campaigns.campaign_file import read_campaign
from experiments.campaigns.campaign_folder import CampaignFolder
from training.experiment_data import data_facts
from training.run_folder import RunFolder
from training.run_state import RunState

BESIDE, AFTER = "side by side, a core each", "one after the other, all cores"

_BASE = """
name = "bench"
[base]
dataset = "ham10000"
pretrained = false
backbone = "resnet18"
image-size = 64
batch-size = 16
text-encoder = "ViT-B/32"
device = "cpu"
"""

_MIX = """
[[part]]
command = "simulate"
base = {rounds = 3}
grid = {strategy = ["fedavg", "fedprox"]}
[[part]]
command = "clip"
base = {epochs = 5}
[[part]]
command = "heads"
base = {epochs = 5}
"""

_ROUNDS = """
[[part]]
command = "simulate"
base = {rounds = 1}
"""

_MANY = """
[[part]]
command = "clip"
base = {epochs = 1}
"""


def measure(repeats: int = 3, *, finished: int = 500) -> list[Result]:
    """Measure both figures with real campaigns on synthetic images.

    Args:
        repeats: samples.
        finished: number of trials of the finished campaign.
    """
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        folder = Path(name)
        write_ham10000(folder / "ham10000", images=120, seed=0)
        return [
            *_side_by_side(folder, repeats),
            _next_trial(folder, repeats),
            _finished(folder, repeats, finished),
        ]


def _side_by_side(folder: Path, repeats: int) -> list[Result]:
    cores = joblib.cpu_count()
    seconds: dict[str, list[float]] = {BESIDE: [], AFTER: []}
    gaps = []
    _run(folder, "warm", _MIX, 1)  # fills image stores, text features and the disk cache
    for repeat in range(repeats):
        for how, cpus in ((BESIDE, 1), (AFTER, cores)):
            out = f"{repeat}-{cpus}"
            seconds[how].append(_run(folder, out, _MIX, cpus))
            if how == AFTER:
                gaps.append(_gap(CampaignFolder(folder / out)))
            shutil.rmtree(folder / out)
    middle = repeats // 2
    ratio = sorted(seconds[BESIDE])[middle] / sorted(seconds[AFTER])[middle]
    beside = Result(
        name="campaign-side-by-side",
        compares="Two federated trials, one of CLIP and one of heads (resnet18, 64 px, 3 rounds, 5 "
        "epochs), the whole command with Ray's start and end.",
        value=ratio,
        unit="x",
        samples=seconds,
        at_most=0.75,
        details={"cores": cores},
    )
    between = Result(
        name="campaign-gap",
        compares="From the end of a trial's process to the start of the next one's.",
        value=sorted(gaps)[middle],
        unit="s",
        samples={"between two trials": gaps},
        at_most=2.0,
    )
    return [beside, between]


def _next_trial(folder: Path, repeats: int) -> Result:
    """Run federated trials one after the other, and look at their run folders every 20 ms."""
    seeds = f"seeds = [{', '.join(map(str, range(repeats + 1)))}]\n"
    command = _command(folder, "next", _ROUNDS, joblib.cpu_count(), seeds)
    trials = folder / "next" / "trials"
    trained: dict[str, float] = {}
    ended: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                for path in trials.glob("simulate-*"):
                    manifest = RunFolder(path).manifest()
                    if manifest.get("phase") == "training":
                        trained.setdefault(path.name, time.perf_counter())
                    if manifest.get("status") == RunState.COMPLETED:
                        ended.setdefault(path.name, time.perf_counter())
                time.sleep(LOOK_SECONDS)
        finally:
            process.terminate()
    if process.returncode != 0 or len(ended) < repeats + 1:
        raise RuntimeError(f"the campaign ended with {process.returncode}")
    begun = sorted(trained.values())[1:]
    gaps = [start - end for end, start in zip(sorted(ended.values()), begun, strict=False)]
    return Result(
        name="campaign-next-trial",
        compares="From the results of a federated trial to the first training message of the next "
        "one, both of three clients (resnet18, 64 px).",
        value=statistics.median(gaps),
        unit="s",
        samples={"to the next trial": gaps},
        at_most=2.0,
    )


def _finished(folder: Path, repeats: int, trials: int) -> Result:
    seeds = f"seeds = [{', '.join(map(str, range(trials)))}]\n"
    _run(folder, "finished", _MANY, 1)
    (folder / "all.toml").write_text(seeds + _BASE + _MANY, encoding="utf-8")
    campaign = read_campaign(
        folder / "all.toml",
        [f"cache-dir={folder / 'cache'}"],
        {"ham10000": folder / "ham10000"},
    )
    facts = data_facts(campaign.trials[0].config)
    (done,) = (folder / "finished" / "trials").iterdir()
    for trial in campaign.trials[1:]:
        copy = done.with_name(trial.id(facts))
        shutil.copytree(done, copy, ignore=shutil.ignore_patterns("checkpoint", "predictions*"))
        text = (copy / "config.toml").read_text(encoding="utf-8")
        text = text.replace("seed = 0\n", f"seed = {trial.config.seed}\n")
        (copy / "config.toml").write_text(text, encoding="utf-8")
    seconds = [_run(folder, "finished", _MANY, 1, seeds) for _ in range(repeats)]
    return Result(
        name="campaign-finished",
        compares=f"fedskin campaign run when all {trials} trials are finished, Python's start too.",
        value=sorted(seconds)[repeats // 2],
        unit="s",
        samples={"fedskin campaign run": seconds},
        at_most=3.0,
        details={"trials": trials},
    )


def _run(folder: Path, out: str, parts: str, cpus: int, seeds: str = "") -> float:
    """Run a campaign to its end and return the seconds the command took."""
    command = _command(folder, out, parts, cpus, seeds)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _command(folder: Path, out: str, parts: str, cpus: int, seeds: str = "") -> list[str]:
    """Write a campaign file and return the command that runs it."""
    file = folder / "campaign.toml"
    head = f"cpus-per-trial = {cpus}\n{seeds}"
    file.write_text(head + _BASE + parts, encoding="utf-8")
    return [
        *(*FEDSKIN, "campaign", "run", str(file)),
        *("--out", str(folder / out), "--data", f"ham10000={folder / 'ham10000'}"),
        *("-c", f"cache-dir={folder / 'cache'}"),
    ]


def _gap(campaign: CampaignFolder) -> float:
    """Return the longest gap between two trials, from the records written when an attempt ends."""
    ends = []
    for path in (campaign.path / "attempts").iterdir():
        ended = path.stat().st_mtime
        ends.append((ended - campaign.attempt(path.stem)["seconds"], ended))
    ends.sort()
    return max(start - end for (_, end), (start, _) in itertools.pairwise(ends))
