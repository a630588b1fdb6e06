"""The demo learns, honestly: with shuffled training labels it does not."""

import csv
import random
import shutil
from pathlib import Path

import pytest

from tests.runs import fedskin, read_json

pytestmark = pytest.mark.slow

DEMO = Path(__file__).parents[2] / "experiments" / "configs" / "demo.toml"
CHANCE = 100 / 7


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make demo`` trains on."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    assert fedskin("data", "synth", folder, cwd=folder.parent).returncode == 0
    return folder


def run_demo(data: Path, out: Path) -> dict:
    options = ["-c", f"data-dir={data}", "-c", f"cache-dir={data.parent / 'cache'}"]
    result = fedskin("simulate", DEMO, *options, "--out", out, cwd=out.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    return read_json(out / "metrics.json")


def test_demo_learns(demo_data: Path, tmp_path: Path) -> None:
    metrics = run_demo(demo_data, tmp_path / "run")
    assert metrics["global_test"]["bacc"] >= 30 > 2 * CHANCE


def test_demo_learns_nothing_from_shuffled_labels(demo_data: Path, tmp_path: Path) -> None:
    """The same images and the same counts per class, but the labels of other images.

    Judged is the global model of the run, the best on validation. The last one may set apart the
    images of one class that look most unlike the others, and hit its name by chance.
    """
    shuffled = tmp_path / "data"
    shutil.copytree(demo_data, shuffled)
    path = shuffled / "HAM10000_metadata.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [row["dx"] for row in rows]
    random.Random(0).shuffle(labels)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "dx": dx} for row, dx in zip(rows, labels, strict=True))
    metrics = run_demo(shuffled, tmp_path / "run")
    assert metrics["global_test"]["bacc"] < 20
