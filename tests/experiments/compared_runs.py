"""``fedskin compare`` as a command, and finished runs with predictions of made-up test images."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner, Result

from experiments.cli import app
from operation.errors import InputError
from tests.generated_campaign import write_campaign
from training.run_folder import RunFolder

NUM_IMAGES = 120


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def compared(*arguments: object) -> dict:  # type: ignore[type-arg]
    result = compare(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    found: dict = json.loads(result.stdout)  # type: ignore[type-arg]
    return found


def refusal(*arguments: object) -> str:
    result = compare(*arguments)
    assert isinstance(result.exception, InputError), result.output
    assert len(str(result.exception).splitlines()) == 1
    return str(result.exception)


def write_runs(folder: Path) -> list[str]:
    """Write a campaign of one backbone and two seeds, and the predictions of its networks.

    FedProx is right more often than the others. Of its heads KNN has predictions. Two images each
    are of one lesion, but for the last ten, whose lesions are not known.

    Returns:
        The trials' ids.
    """
    names = write_campaign(folder, rounds=2, backbones=["swin_t"], seeds=[0, 1])
    for number, name in enumerate(names):
        run = RunFolder(folder / "trials" / name)
        config = run.config()
        sure = 3.0 if config.strategy == "fedprox" else 2.0
        classes = run.manifest()["data"]["classes"]
        predict(run, "global_test", classes, sure, seed=number)
        if name.startswith("heads"):
            predict(run, "heads-knn", classes, 2.5, seed=99 + number)
    return names


def predict(run: RunFolder, test_set: str, classes: Sequence[str], sure: float, seed: int) -> None:
    """Write made-up predictions; the more ``sure``, the more of them are right."""
    labels = np.arange(NUM_IMAGES) % len(classes)
    scores = np.random.default_rng(seed).normal(size=(NUM_IMAGES, len(classes)))
    scores += sure * np.eye(len(classes))[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    table = pd.DataFrame(probabilities.astype(np.float32), columns=list(classes))
    table.insert(0, "image_id", [f"image-{number:03}" for number in range(NUM_IMAGES)])
    table.insert(1, "label", [classes[label] for label in labels])
    lesions = [f"lesion-{number // 2}" for number in range(NUM_IMAGES - 10)] + [""] * 10
    table.insert(2, "lesion_id", lesions)
    if test_set != "global_test":
        table.insert(2, "predicted", [classes[index] for index in probabilities.argmax(axis=1)])
    table.to_csv(run.path / f"predictions-{test_set}.csv", index=False)
