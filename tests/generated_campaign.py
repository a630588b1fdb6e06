"""Campaign folders without a campaign: run folders like real ones, from seeded random counts.

Nothing is trained. The figures are those of their confusion matrices, so that ledger, tracking
and report cannot tell such a folder from a real one; only that it is synthetic.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from data_partition.datasets import find_dataset
from models.text_features import prompts
from tests.generated_figures import IMAGES, Judge
from training.config import ExperimentConfig, Scalar, parse
from training.study import resolve

STUDY_BACKBONES = (
    *("convnext_t", "convnext_s", "convnext_b", "convnext_l", "maxvit_t"),
    *("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b", "vit_l_16"),
)
TEXT_ENCODERS = ("ViT-L/14", "RN50x16", "RN50x64")
STRATEGIES = ("fedavg", "fedprox")
OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "adadelta")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def write_campaign(
    folder: Path,
    *,
    trials: int | None = None,
    rounds: int = 50,
    seeds: Sequence[int] = (0,),
    backbones: Sequence[str] = STUDY_BACKBONES,
) -> list[str]:
    """Write a campaign's folder with finished trials of the study's three tasks.

    A backbone has 17 trials with each seed: 6 of clip (text encoder × data set), 10 of simulate
    (strategy × optimizer) and 1 of heads. They come backbone by backbone, seed by seed.

    Args:
        folder: where to.
        trials: only so many, the first ones.
        rounds: rounds and epochs of each.
        seeds, backbones: of the grid.

    Returns:
        The trials' ids in the plan's order.
    """
    plan = []
    for command, config in itertools.islice(_grid(rounds, seeds, backbones), trials):
        trial_id = _id(command, config)
        _write_trial(folder / "trials" / trial_id, command, config, number=len(plan))
        plan.append({"id": trial_id, "command": command, "config": config.to_flat()})
    _write_json(folder / "plan.json", {"name": "generated", "trials": plan})
    return [trial["id"] for trial in plan]


def _grid(
    rounds: int, seeds: Sequence[int], backbones: Sequence[str]
) -> Iterator[tuple[str, ExperimentConfig]]:
    for seed, backbone in itertools.product(seeds, backbones):

        def config(
            seed: int = seed, backbone: str = backbone, dataset: str = "ham10000", **keys: Scalar
        ) -> ExperimentConfig:
            values = {"backbone": backbone, "seed": seed, "rounds": rounds, "epochs": rounds}
            places = {"data-dir": f"/data/{dataset}", "cache-dir": "/cache"}
            wanted = parse(values | places | {k.replace("_", "-"): v for k, v in keys.items()})
            return resolve(wanted, dataset=dataset, device="cpu", threads_per_client=1)

        for encoder, dataset in itertools.product(TEXT_ENCODERS, IMAGES):
            yield "clip", config(objective="clip", text_encoder=encoder, dataset=dataset)
        for strategy, optimizer in itertools.product(STRATEGIES, OPTIMIZERS):
            yield "simulate", config(strategy=strategy, optimizer=optimizer)
        yield "heads", config()


def _id(command: str, config: ExperimentConfig) -> str:
    digest = hashlib.sha256(f"{command} {config.to_toml()}".encode()).hexdigest()
    return f"{command}-{config.backbone}-{digest[:12]}"


def write_trial(trials: Path, command: str, config: ExperimentConfig) -> Path:
    """Write the folder of one finished trial among others, and return it."""
    path = trials / _id(command, config)
    _write_trial(path, command, config, number=0)
    return path


def _write_trial(path: Path, command: str, config: ExperimentConfig, *, number: int) -> None:
    path.mkdir(parents=True)
    (path / "config.toml").write_text(config.replace(run_dir=str(path)).to_toml(), encoding="utf-8")
    judge = Judge(command, config)
    records = [judge.round(r) for r in range(1, judge.num_rounds + 1)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (path / "rounds.jsonl").write_text(lines, encoding="utf-8")
    _write_json(path / "metrics.json", judge.metrics(records))
    _write_json(path / "manifest.json", _manifest(path.name, command, config, number, records))


def _manifest(
    trial_id: str,
    command: str,
    config: ExperimentConfig,
    number: int,
    records: list[dict[str, Any]],
) -> dict[str, Any]:
    images = IMAGES[config.dataset]
    seconds = sum(record["seconds"]["round"] for record in records)
    started = BEGINNING + timedelta(hours=number)
    process = {"pid": 1000 + number, "created": f"generated:{number}"}
    manifest: dict[str, Any] = {
        "versions": {
            "python": "3.11.7",
            "fedskin": "0.1.0",
            "flwr": "1.41.0",
            "ray": "2.55.1",
            "torch": "2.14.1",
            "torchvision": "0.29.1",
            "timm": "1.0.31",
            "open_clip_torch": "3.3.0",
            "numpy": "2.4.6",
            "pandas": "2.3.3",
            "safetensors": "0.8.0",
        },
        "machine": {"host": "generated", "system": "none", "processor": "none", "cpus": 2},
        "git_commit": None,
        "command": command,
        "status": "completed",
        "cause": None,
        "device": config.device,
        "best_by": config.best_by,
        "ended_early": None,
        "notes": [],
        "started": started.isoformat(timespec="seconds"),
        "data": {
            "synthetic": True,
            "classes": list(images.classes),
            "fingerprint": hashlib.sha256(config.dataset.encode()).hexdigest(),
            "images": sum(images.training),
            "set_aside": {},
            "test_fingerprint": hashlib.sha256(f"{config.dataset} test".encode()).hexdigest(),
            "test_images": sum(images.test),
            "test_set_aside": {},
            "notices": [],
            "copies": {"groups": [], "contradicting": 0, "straddling": 0},
            "overlap": {
                "test_images": sum(images.test),
                "in_training": 0,
                "by_reason": {},
                "lesions_known": True,
                "images": {},
            },
        },
        "text": None,
        "phase": "completed",
        "finished": (started + timedelta(seconds=seconds)).isoformat(timespec="seconds"),
        "trial": {"id": trial_id, "peak_memory": 10**9 * (1 + number % 7), "seconds": seconds + 9},
    }
    if config.objective == "clip":
        manifest["text"] = {
            "encoder": config.text_encoder,
            "weights": "openai",
            "prompts": list(prompts(find_dataset(config.dataset).names_in_words(images.classes))),
            "logit_scale": 100.0,
        }
    if command == "simulate":
        examples = sum(images.training) // 15
        sizes = {"train": 3 * examples, "validation": examples, "test": examples}
        manifest["clients"] = {f"client-{i}": sizes for i in range(config.clients)}
        manifest["server"] = process
        manifest["starter"] = {**process, "token": "0" * 32}
        manifest["resources"] = {
            "concurrency": 1,
            "threads_per_client": 1,
            "gpu_fraction": 0.0,
            "cluster_cpus": 0,
            "gpus": 0,
        }
    return manifest


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
