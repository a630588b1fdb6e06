"""The costs of a campaign: trials in parallel, gaps between trials, and a finished campaign."""

import itertools
import shutil
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

import joblib

from benchmarks.result import Result
from data_partition.synthetic import write_ham10000
from experiments.campaigns.campaign_file import read_campaign
from experiments.campaigns.campaign_folder import CampaignFolder
from training.experiment_data import data_facts

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
        return [*_side_by_side(folder, repeats), _finished(folder, repeats, finished)]


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
    file = folder / "campaign.toml"
    head = f"cpus-per-trial = {cpus}\n{seeds}"
    file.write_text(head + _BASE + parts, encoding="utf-8")
    command = [
        *(str(Path(sysconfig.get_path("scripts")) / "fedskin"), "campaign", "run", str(file)),
        *("--out", str(folder / out), "--data", f"ham10000={folder / 'ham10000'}"),
        *("-c", f"cache-dir={folder / 'cache'}"),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _gap(campaign: CampaignFolder) -> float:
    """Return the longest gap between two trials, from the records written when an attempt ends."""
    ends = []
    for path in (campaign.path / "attempts").iterdir():
        ended = path.stat().st_mtime
        ends.append((ended - campaign.attempt(path.stem)["seconds"], ended))
    ends.sort()
    return max(start - end for (_, end), (start, _) in itertools.pairwise(ends))
