"""Deep features: extraction compared with the plain forward pass, and the start of another head.

Extraction is `training.inference.extract_features` on stored images: read, resize, normalise,
forward, copy out. The plain side is the forward pass alone, on normalised batches in memory. The
two alternate, with all cores.

The other head is ``fedskin heads --from RUN`` on a run whose features are stored, from the command
to the start of the first fit. The run is made here, with synthetic images.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import torch

from benchmarks.fedprox_step import random_images
from benchmarks.result import Result, ratio
from benchmarks.start_up import FEDSKIN
from benchmarks.timing import interleaved, torch_threads
from data_partition.batches import evaluation_batch
from data_partition.image_store import store_side
from data_partition.synthetic_ham10000 import write_ham10000
from models.backbones import build_backbone
from models.registry import find_backbone
from training.inference import Preprocessing, extract_features

OURS, PLAIN = "extraction", "plain forward pass"

# Runs in its own process: the installed command, except that the first fit ends it.
UNTIL_THE_FIRST_FIT = """
import sys, time
from pathlib import Path

from experiments.ml_heads import heads_command
import training.head_figures

def fit_head(*arguments, **options):
    print(time.time() - float(sys.argv[2]))
    sys.exit(0)

training.head_figures.fit_head = fit_head
heads_command(from_run=Path(sys.argv[1]))
"""


def measure(
    repeats: int = 5,
    *,
    backbone: str = "convnext_t",
    image_size: int = 224,
    batch_size: int = 32,
    num_images: int = 96,
) -> list[Result]:
    """Measure the extraction of features and the start of heads.

    Args:
        repeats: samples of each.
        backbone, image_size, batch_size: as in a config.
        num_images: number of images per sample of the extraction.
    """
    samples = _extraction(repeats, backbone, image_size, batch_size, num_images)
    starts = _second_heads(repeats)
    return [
        Result(
            name="feature-extraction",
            compares="Images per second of feature extraction over those of the plain forward "
            "pass on prepared batches.",
            value=ratio(PLAIN, OURS, samples),
            unit="x",
            samples=samples,
            at_least=0.95,
            details={
                "backbone": backbone,
                "image size": image_size,
                "batch size": batch_size,
                "images": num_images,
                "images per second": num_images / statistics.median(samples[OURS]),
                "threads": joblib.cpu_count(),
            },
        ),
        Result(
            name="second-head",
            compares="Seconds from fedskin heads --from RUN, features in store, until the first "
            "head begins to fit.",
            value=statistics.median(starts),
            unit="s",
            samples={"until the first fit": starts},
            at_most=2.0,
        ),
    ]


def _extraction(
    repeats: int, backbone: str, image_size: int, batch_size: int, num_images: int
) -> dict[str, list[float]]:
    spec = find_backbone(backbone)
    network = build_backbone(backbone, 7, pretrained=False, image_size=image_size, seed=0).eval()
    stored = random_images(num_images, store_side(image_size))
    how = Preprocessing(image_size, spec.mean, spec.std)
    parts = range(0, num_images, batch_size)
    batches = [
        evaluation_batch(
            torch.from_numpy(stored.images[start : start + batch_size]),
            image_size=image_size,
            mean=spec.mean,
            std=spec.std,
        )
        for start in parts
    ]

    @torch.inference_mode()
    def plain() -> None:
        for batch in batches:
            network.features(batch)

    def ours() -> None:
        extract_features(
            network,
            stored.images,
            stored.indices,
            width=spec.width,
            batch_size=batch_size,
            preprocessing=how,
        )

    with torch_threads(joblib.cpu_count()):
        return interleaved({OURS: ours, PLAIN: plain}, repeats)


def _second_heads(repeats: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        here = Path(name)
        write_ham10000(here / "skin", 300)
        words = {
            "data-dir": "skin",
            "cache-dir": "cache",
            "backbone": "resnet18",
            "pretrained": "false",
            "image-size": "32",
            "epochs": "1",
            "device": "cpu",
        }
        options = [word for key, value in words.items() for word in ("-c", f"{key}={value}")]
        command = [*FEDSKIN, "heads", *options, "--out", "run"]
        subprocess.run(command, cwd=here, check=True, capture_output=True)
        starts = []
        for _ in range(repeats):
            script = [sys.executable, "-c", UNTIL_THE_FIRST_FIT, "run", str(time.time())]
            done = subprocess.run(script, cwd=here, check=True, capture_output=True, text=True)
            starts.append(float(done.stdout.split()[-1]))
        return starts
