"""Does an ONNX file answer as torch does? On real images, for any backbone.

``python -m benchmarks.onnx_on_images IMAGES BACKBONE [BACKBONE …]`` writes a network of each as an
ONNX file and compares the answers on 100 images of a folder, zipped or not, at 224 pixels. The
weights are random, and made more like trained ones: biases and LayerScale, which start at 0 or near
it, are drawn, BatchNorm's statistics are those of 96 other images, and the head is scaled so that
logits have a standard deviation of 2 over images and classes.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from data_partition.batches import evaluation_batch
from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments.console import Console
from experiments.exporting.exported_model import ExportedModel
from experiments.exporting.onnx_file import write_onnx
from experiments.prediction_images import decode_images, find_images
from experiments.trained_model import TrainedModel
from models.backbones import Backbone, build_backbone
from models.registry import find_backbone
from training.config import ExperimentConfig, parse
from training.study import resolve

SIZE = 224
COMPARED, OF_STATISTICS = 100, 96
_AT_ONCE = 16


def measure(folder: Path, name: str) -> tuple[float, float, int]:
    """Compare the answers of a backbone's file with torch's.

    Args:
        folder: of image files, zipped or not, at least 196.
        name: the backbone.

    Returns:
        The largest difference of a probability, and of a logit in standard deviations of the
        logits; and the number of images whose most probable class is another one.

    Raises:
        ExportError: the file cannot be written.
    """
    config = _config(name)
    pixels = _pixels(folder, config)
    classes = len(HAM10000_CLASSES)
    network = build_backbone(name, classes, pretrained=False, image_size=SIZE, seed=0)
    _like_trained(network, config, pixels[COMPARED:])
    exported = ExportedModel(
        TrainedModel(config, tuple(HAM10000_CLASSES), None, lambda: ({}, None)),
        find_backbone(name),
        network.eval(),
    )
    with tempfile.TemporaryDirectory() as place:
        write_onnx(exported, file := Path(place) / "a.onnx")
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        logits, theirs = [], []
        for batch in pixels[:COMPARED].split(_AT_ONCE):
            with torch.inference_mode():
                logits.append(network(_normalised(config, batch)))
            # The file normalises by itself.
            plain = evaluation_batch(batch, image_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))
            theirs.append(torch.from_numpy(session.run(None, {"images": plain.numpy()})[0]))
    ours, found = torch.cat(logits), torch.cat(theirs)
    probabilities = ours.softmax(1)
    # A softmax loses a constant of each image, and nothing else.
    apart = _centred(found.log()) - _centred(ours)
    return (
        float((found - probabilities).abs().max()),
        float(apart.abs().max() / _centred(ours).std()),
        int((found.argmax(1) != probabilities.argmax(1)).sum()),
    )


def _config(name: str) -> ExperimentConfig:
    flat = {"dataset": "ham10000", "backbone": name, "pretrained": False, "image-size": SIZE}
    wanted = parse({**flat, "data-dir": "/data"})
    return resolve(wanted, dataset="ham10000", device="cpu", threads_per_client=1)


def _pixels(folder: Path, config: ExperimentConfig) -> Tensor:
    """Return as many images as are needed, (N, S, S, 3) uint8, drawn from a fixed seed."""
    ((_, table),) = find_images([folder], config)
    needed = COMPARED + OF_STATISTICS
    number = min(needed, len(table.rows))
    drawn = replace(table, rows=table.rows.sort_values("name").sample(number, random_state=0))
    asked = decode_images([(folder, drawn)], config, Console())
    pixels = torch.cat([torch.tensor(part.pixels) for part in asked])
    if len(pixels) < needed:
        sys.exit(f"{folder}: has {len(pixels)} images that can be used; {needed} are needed")
    return pixels


def _like_trained(network: Backbone, config: ExperimentConfig, pixels: Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            last = name.rpartition(".")[2]
            if last.startswith(("layer_scale", "gamma")):
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
            elif "bias" in last and "head" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for module in norms:
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
        network.eval()
        for module in norms:
            module.train()
        batches = pixels.split(_AT_ONCE)
        logits = torch.cat([network(_normalised(config, batch)) for batch in batches])
        network.eval()
        scale = 2 / _centred(logits).std()
        for parameter in network.head.parameters():
            parameter.mul_(scale)


def _normalised(config: ExperimentConfig, batch: Tensor) -> Tensor:
    spec = find_backbone(config.backbone)
    return evaluation_batch(batch, image_size=SIZE, mean=spec.mean, std=spec.std)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def main() -> None:
    """Print a row for each backbone that is named."""
    if len(sys.argv) < 3:
        sys.exit("python -m benchmarks.onnx_on_images IMAGES BACKBONE [BACKBONE …]")
    folder, *names = sys.argv[1:]
    print(f"{'backbone':<32} {'probability':>12} {'logit':>10} {'other class':>12}")
    for name in names:
        probability, logit, others = measure(Path(folder), name)
        print(f"{name:<32} {probability:>12.1e} {logit:>10.1e} {others:>12}", flush=True)


if __name__ == "__main__":
    main()
