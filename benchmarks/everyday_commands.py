"""How long a person waits: ``--help``, a run list, a run's page, and predictions.

The run folders of the list are generated, and one short run is made. The network that predicts has
random weights; images are synthetic. What ``predict`` does on a folder is timed in this process
beside the bare forward pass: the same images through the same decoding, and the network alone. The
two alternate, with all cores.
"""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import joblib
import torch

from benchmarks.result import Result, ratio
from benchmarks.start_up import FEDSKIN
from benchmarks.timing import interleaved, torch_threads
from data_partition.batches import evaluation_batch
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.synthetic_ham10000 import write_ham10000
from experiments.console import Console
from experiments.prediction import predictions_of
from experiments.prediction_images import decode_images, find_images
from experiments.trained_model import Classifier, find_model
from models.registry import find_backbone
from tests.generated_campaign import write_campaign
from tests.support import BACKBONE
from training.config import parse
from training.model_file import ModelFile
from training.network import sent_part
from training.study import resolve
from training.task import Task

PREDICT, FORWARD = "fedskin predict", "the same decoding, forward pass alone"


def measure(
    repeats: int = 5, *, runs: int = 500, images: int = 256, backbone: str = "resnet18"
) -> list[Result]:
    """Measure all commands.

    Args:
        repeats: samples of each.
        runs: number of run folders in the list.
        images: number of images in the folder.
        backbone: of the network that predicts, at 224 pixels.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_campaign(place / "campaign", trials=runs, rounds=20, seeds=range(-(-runs // 204)))
        folder = place / "data"
        write_ham10000(folder, images=images, seed=0)
        run = _run(folder, place / "run")
        model = _model(place / "final.safetensors", backbone)
        photo = next(iter(sorted(folder.rglob("ISIC_*.jpg"))))
        commands = {
            "help": (("--help",), 0.5, "fedskin --help"),
            "run-list": (("runs", str(place / "campaign")), 2.0, f"fedskin runs, {runs} runs"),
            "run-page": (("report", str(run)), 5.0, "fedskin report RUN"),
            "predict-image": (("predict", str(model), str(photo)), 4.0, "fedskin predict, 1 image"),
        }
        results = [
            Result(
                name=which,
                compares=f"Seconds of the whole command: {said}.",
                value=statistics.median(seconds := _seconds(arguments, repeats)),
                unit="s",
                samples={said: seconds},
                at_most=limit,
            )
            for which, (arguments, limit, said) in commands.items()
        ]
        samples = _folder(model, folder, repeats)
    results.append(
        Result(
            name="predict-folder",
            compares="Images per second of predict over those of the bare forward pass.",
            value=ratio(FORWARD, PREDICT, samples),
            unit="x",
            samples=samples,
            at_least=0.9,
            details={"backbone": backbone, "image size": 224, "threads": joblib.cpu_count()},
        )
    )
    return results


def _run(data: Path, out: Path) -> Path:
    """Make a short run, with three clients and a small network."""
    keys = {"data-dir": data, "cache-dir": out.parent / "cache", "backbone": BACKBONE}
    keys |= {"pretrained": "false", "image-size": 32, "rounds": 10, "learning-rate": 0.1}
    settings = [part for key, value in keys.items() for part in ("-c", f"{key}={value}")]
    command = [*FEDSKIN, "simulate", *settings, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def _model(path: Path, backbone: str) -> Path:
    flat = {"dataset": "ham10000", "backbone": backbone, "pretrained": False, "image-size": 224}
    wanted = parse({**flat, "data-dir": "/data"})
    config = resolve(wanted, dataset="ham10000", device="cpu", threads_per_client=1)
    classes = tuple(HAM10000_CLASSES)
    weights = sent_part(Task(config, len(classes), None).build())
    ModelFile(config, classes, weights, None, "0" * 32, 1, False).save(path)
    return path


def _seconds(arguments: tuple[str, ...], repeats: int) -> list[float]:
    """Return the seconds of a command from its start to its end, after one that warms the disk."""
    seconds = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        subprocess.run([*FEDSKIN, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def _folder(path: Path, folder: Path, repeats: int) -> dict[str, list[float]]:
    model = find_model(path, None)
    spec = find_backbone(model.config.backbone)
    network = Classifier(model).network.eval()

    def forward() -> None:
        size = model.config.batch_size
        for asked in decode_images(find_images([folder], model.config), model.config, Console()):
            pixels = torch.tensor(asked.pixels)
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                how = {"image_size": 224, "mean": spec.mean, "std": spec.std}
                with torch.inference_mode():
                    network(evaluation_batch(part, **how))  # type: ignore[arg-type]

    with torch_threads(joblib.cpu_count()):
        sides = {PREDICT: lambda: predictions_of(model, [folder]), FORWARD: forward}
        return interleaved(sides, repeats)
