"""``make soak``: objectives, ``trainable``, wire formats and strategies, every two values together.

All combinations would take a night. Each one of the sample is run by ``fedskin run`` over three
hospitals, and by ``fedskin simulate``, which is killed with -9 after its first round and resumed:
both must give the same weights. LoRA needs linear layers, so it trains a convnext_t; the others
train a resnet18.
"""

import time
from collections.abc import Iterator
from itertools import combinations as pairs
from itertools import product
from pathlib import Path
from typing import Any, get_args

import tomli_w

from benchmarks import machine
from benchmarks.disturbed_run import CONFIG
from benchmarks.hospitals_here import Hospitals
from benchmarks.soaking import soak_folders, write_soak
from experiments.console import Console
from operation.processes import end_processes
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.config_faults import shares_nothing
from training.run_folder import RunFolder

ROUNDS = 4
KEYS = ("objective", "trainable", "wire-format", "strategy")

console = Console()


def sample() -> list[dict[str, str]]:
    """Return a few combinations: any two values that can be set together are in one of them."""
    every = list(combinations())
    missing = set().union(*map(_pairs, every))
    chosen = []
    while missing:
        chosen.append(max(every, key=lambda settings: len(_pairs(settings) & missing)))
        missing -= _pairs(chosen[-1])
    return chosen


def _pairs(settings: dict[str, str]) -> set[tuple[tuple[str, str], ...]]:
    return set(pairs([(key, settings[key]) for key in KEYS], 2))


def combinations() -> Iterator[dict[str, str]]:
    """Yield all combinations that share anything, as settings of a config."""
    fields = ExperimentConfig.model_fields
    allowed = [get_args(fields[key.replace("-", "_")].annotation) for key in KEYS[:-1]]
    federated = [name for name in METHODS.own if not METHODS[name].pooled]
    for values in product(*allowed, federated):
        settings = dict(zip(KEYS, values, strict=True))
        if shares_nothing(settings["strategy"], settings["trainable"]):
            continue
        if METHODS[settings["strategy"]].sgd_only:
            settings["optimizer"] = "sgd"
        yield settings


def run_combination(
    hospitals: Hospitals, data: Path, folder: Path, settings: dict[str, str]
) -> dict[str, Any]:
    """Run a combination both ways.

    Args:
        hospitals: already serving; as many as the simulation has clients.
        data: the release whose shards they have.
        folder: for the runs; is created.
        settings: the settings of the combination.

    Returns:
        The settings and the outcome.

    Raises:
        RuntimeError: a run fails.
    """
    folder.mkdir()
    clients = len(hospitals.names)
    values = {
        **CONFIG,
        "clients": clients,
        "min-replies": clients,
        "rounds": ROUNDS,
        "text-encoder": "ViT-B/32",  # the smallest; only objective clip uses it
        **settings,
    }
    if settings["trainable"] == "lora":
        values["backbone"] = "convnext_t"
    deployed, resumed = folder / "deployed", folder / "resumed"
    file = folder / "run.toml"
    file.write_text(tomli_w.dumps(values), encoding="utf-8")
    hospitals.fedskin("run", str(file), "--on", str(hospitals.coordinator), "--out", str(deployed))
    file.write_text(tomli_w.dumps({**values, "data-dir": str(data)}), encoding="utf-8")
    rounds_done = kill_after_round_one(hospitals, file, resumed)
    hospitals.fedskin("simulate", "--resume", "--out", str(resumed))
    found, expected = RunFolder(resumed).metrics(), RunFolder(deployed).metrics()
    sent = [
        client["bytes_received"]
        for record in RunFolder(deployed).rounds()
        for client in record["clients"].values()
    ]
    return {
        **settings,
        "bytes_of_an_update": max(sent),
        "rounds_done_before_the_kill": rounds_done,
        "same_weights": found["weights_sha256"] == expected["weights_sha256"],
    }


def kill_after_round_one(hospitals: Hospitals, file: Path, out: Path) -> int:
    """Start a simulation; kill it with all its child processes after its first round.

    Returns:
        Number of rounds that were finished by then.

    Raises:
        RuntimeError: it ended first.
    """
    folder = RunFolder(out)
    run = hospitals.start(out.parent.name, "simulate", str(file), "--out", str(out))
    while folder.checkpoint.progress().round < 1:
        if run.poll() is not None:
            raise RuntimeError(hospitals.output(out.parent.name).read_text(encoding="utf-8"))
        time.sleep(0.02)
    token = str(folder.manifest()["starter"]["token"])
    run.kill()
    end_processes(token)
    run.wait()
    if folder.manifest()["status"] == "completed":
        raise RuntimeError(f"{out} was completed before it was killed")
    return folder.checkpoint.progress().round


def main() -> None:
    """Run the sample; different weights end it with an error.

    The file is written after each combination, so an interrupted call keeps its results.
    """
    circumstances = machine.describe()
    with soak_folders() as (folder, data, serving), Hospitals(serving, data) as hospitals:
        runs = []
        for number, settings in enumerate(sample(), start=1):
            runs.append(run_combination(hospitals, data, folder / str(number), settings))
            console.print(f"{number}: {runs[-1]}", highlight=False)
            path = write_soak("soak-combinations", circumstances, runs=runs)
            if not runs[-1]["same_weights"]:
                raise RuntimeError(f"different weights with {settings}")
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
