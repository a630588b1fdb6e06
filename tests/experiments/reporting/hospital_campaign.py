"""A generated campaign over three hospitals, with predictions."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.generated_campaign import write_trial
from training.config import parse
from training.metrics import metric_block
from training.predictions import write_predictions
from training.study import resolve

HOSPITALS = ("client-0 (north)", "client-1 (south)", "client-2 (west)")
STRATEGIES = ("fedavg", "local", "pooled", "ditto")
LOSSES = ("cross-entropy", "balanced")
CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
LABELS = np.repeat(np.arange(7), (4, 6, 10, 2, 12, 60, 3))

# How often each method's model is right, by file of its predictions.
_SKILL = {
    "local": 0.3,
    "median": 0.4,
    "fedavg": 0.5,
    "multikrum": 0.5,
    "ditto": 0.7,
    "pooled": 0.9,
}


def write_hospital_campaign(
    folder: Path,
    *,
    strategies: Sequence[str] = STRATEGIES,
    losses: Sequence[str] = LOSSES,
    seeds: Sequence[int] = (0, 1),
    split: str = "random",
) -> None:
    """Write finished trials, and the predictions that their metrics describe."""
    for seed in seeds:
        for loss in losses:
            for strategy in strategies:
                keys = {"dataset": "ham10000", "partition": "source", "clients": 3, "split": split}
                flat = {**keys, "loss": loss, "strategy": strategy, "seed": seed, "rounds": 1}
                wanted = parse({**flat, "backbone": "convnext_t", "data-dir": "/data"})
                config = resolve(wanted, dataset="ham10000", device="cpu", threads_per_client=1)
                path = write_trial(folder / "trials", "simulate", config)
                _add_predictions(path, strategy, seed)


def _add_predictions(path: Path, strategy: str, seed: int) -> None:
    metrics = json.loads((path / "metrics.json").read_text())
    shared = _SKILL["fedavg" if strategy == "ditto" else strategy]
    blocks = {}
    for number, hospital in enumerate(HOSPITALS):
        folder = path / "clients" / f"client-{number}"
        folder.mkdir(parents=True)
        test = (number, seed)
        own = folder / "predictions-test.csv"
        blocks[hospital] = _block(_predict(own, test, _SKILL[strategy]))
        if strategy == "ditto":
            _predict(folder / "predictions-shared-test.csv", test, shared)
    metrics["clients"] = blocks
    metrics["participation"] = dict.fromkeys(HOSPITALS, 1)
    if strategy == "pooled":  # one client trains
        metrics["participation"] = dict.fromkeys(HOSPITALS, 0) | {HOSPITALS[0]: 1}
        metrics["sampled"] = metrics["participation"]
    if strategy == "local":
        metrics["local_arrays"] = 2
    metrics["global_test"] |= _block(_predict(path / "predictions-global_test.csv", (9,), shared))
    (path / "metrics.json").write_text(json.dumps(metrics))
    validated = 100 * _SKILL[strategy]
    blocks = {name: {**block, "bacc": validated, "loss": 1.0} for name, block in blocks.items()}
    [record] = map(json.loads, (path / "rounds.jsonl").read_text().splitlines())
    record["validation"]["clients"] = blocks
    (path / "rounds.jsonl").write_text(json.dumps(record) + "\n")


def _predict(path: Path, test: tuple[int, ...], skill: float) -> list[list[int]]:
    """Write answers that are right in a share of the images, the same for the same test images."""
    generator = np.random.default_rng(zlib.crc32(repr(test).encode()))
    right = generator.random(len(LABELS)) < skill
    predicted = np.where(right, LABELS, (LABELS + 1) % 7)
    probabilities = np.full((len(LABELS), 7), 0.05, np.float32)
    probabilities[np.arange(len(LABELS)), predicted] = 0.7
    names = [f"{'-'.join(map(str, test))}-{index}" for index in range(len(LABELS))]
    lesions = [f"lesion {test[0]} {index // 2}" for index in range(len(LABELS))]
    rows = {"image_id": names, "label": [CLASSES[i] for i in LABELS], "lesion_id": lesions}
    write_predictions(path, pd.DataFrame(rows), probabilities, CLASSES)
    confusion = np.zeros((7, 7), dtype=int)
    np.add.at(confusion, (LABELS, predicted), 1)
    counts: list[list[int]] = confusion.tolist()
    return counts


def _block(confusion: list[list[int]]) -> dict[str, Any]:
    return metric_block(np.array(confusion))
