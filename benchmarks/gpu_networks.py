"""What one network does on a device: its errors, whether it repeats itself, and its memory.

The device is ``cuda``, or ``cpu`` to try the checks where there is no GPU. Weights, images and
labels are random; all numbers are drawn on the CPU, so every device has the same.
"""

import gc
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from benchmarks.peak_memory import peak_extra_bytes
from data_partition.image_store import store_side
from models.backbones import Backbone
from models.registry import find_backbone
from training import optimizers
from training.config import ExperimentConfig, parse
from training.device import attention_kernels, use_exact_kernels
from training.epoch import train_epoch
from training.memory import CUDA_BYTES, training_memory
from training.network import move_to_device, preprocessing
from training.randomness import layer_randomness
from training.split import Split
from training.study import resolve
from training.task import Task

CLASSES = 7
FLOAT32, TF32, BFLOAT16 = "float32", "tf32", "bfloat16"
CPU_FLOAT32, CPU_BFLOAT16 = "cpu float32", "cpu bfloat16"


def configured(backbone: str, device: str, *, image_size: int, batch_size: int) -> ExperimentConfig:
    """Return the resolved config of a run that trains this network with AdamW."""
    values = {
        "backbone": backbone,
        "pretrained": False,
        "image-size": find_backbone(backbone).fixed_image_size or image_size,
        "batch-size": batch_size,
        "optimizer": "adamw",
    }
    return resolve(parse(values), dataset="ham10000", device=device, threads_per_client=1)


def on_disk(folder: Path, count: int, image_size: int) -> Split:
    """Return random images in a memory-mapped file, as an image store has them."""
    side = store_side(image_size)
    generator = np.random.default_rng(0)
    path = folder / "images.npy"
    np.save(path, generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    labels = generator.integers(0, CLASSES, count)
    return Split(np.load(path, mmap_mode="r"), labels, np.arange(count))


def errors(backbone: str, device: str, *, image_size: int = 64) -> dict[str, list[float]]:
    """Compare one training step with the same step in float64 on the CPU.

    Stochastic depth is off, because each device draws its own numbers. An error is ‖x − reference‖
    over ‖reference‖.

    Returns:
        For float32 and bfloat16's autocast on the CPU, and on the device for float32 as a run
        computes it, with TF32, and under bfloat16's autocast: the errors of the logits, of all
        gradients together, and of the weights after one step of AdamW.
    """
    config = configured(backbone, device, image_size=image_size, batch_size=4)
    network = Task(config, CLASSES).build()
    for module in network.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    generator = torch.Generator().manual_seed(1)
    side = config.image_size
    images = torch.randn(config.batch_size, 3, side, side, generator=generator)
    labels = torch.randint(CLASSES, (config.batch_size,), generator=generator)

    def step(model: nn.Module, dtype: torch.dtype, autocast: bool = False) -> list[Tensor]:
        where = next(model.parameters()).device
        optimizer = optimizers.build_optimizer(config.to_flat(), model.parameters())
        with torch.autocast(where.type, torch.bfloat16, enabled=autocast):
            logits = model(images.to(where, dtype))
            loss = functional.cross_entropy(logits, labels.to(where))
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        optimizer.step()
        return [_flat([logits]), _flat(gradients), _flat(list(model.parameters()))]

    exact = step(deepcopy(network).double(), torch.float64)
    sides: dict[str, Callable[[], list[Tensor]]] = {
        CPU_FLOAT32: lambda: step(deepcopy(network), torch.float32),
        CPU_BFLOAT16: lambda: step(deepcopy(network), torch.float32, autocast=True),
        FLOAT32: lambda: step(move_to_device(deepcopy(network), config), torch.float32),
        BFLOAT16: lambda: step(
            move_to_device(deepcopy(network), config), torch.float32, autocast=True
        ),
    }
    found = {}
    for name, side in sides.items():
        found[name] = [_error(a, b) for a, b in zip(side(), exact, strict=True)]
    if device == "cuda":
        with pytorch_defaults():
            model = deepcopy(network).to(memory_format=torch.channels_last).to(device)
            found[TF32] = [
                _error(a, b) for a, b in zip(step(model, torch.float32), exact, strict=True)
            ]
    return found


def repeats_itself(backbone: str, device: str, precision: str, *, image_size: int = 64) -> bool:
    """Train two networks alike, two epochs of four batches each; return whether their bits are."""
    config = configured(backbone, device, image_size=image_size, batch_size=16)
    digests = []
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        images = on_disk(Path(name), 64, config.image_size)
        for _ in range(2):
            network = move_to_device(Task(config, CLASSES).build(), config)
            optimizer = optimizers.build_optimizer(config.to_flat(), network.parameters())
            for _ in range(2):
                train(config, network, images, optimizer, precision)
            digest = hashlib.sha256()
            for tensor in network.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
            digests.append(digest.hexdigest())
    return digests[0] == digests[1]


def peak_gigabytes(
    backbone: str, device: str, precision: str, *, image_size: int = 224, batch_size: int = 32
) -> float | None:
    """Return the peak memory of two training steps in 10⁹ bytes: of CUDA, or the process's own.

    On the CPU it is what was added to the memory before, and None where that is not known.
    """
    config = configured(backbone, device, image_size=image_size, batch_size=batch_size)

    def two_steps() -> None:
        network = move_to_device(Task(config, CLASSES).build(), config)
        with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
            images = on_disk(Path(name), 2 * batch_size, config.image_size)
            optimizer = optimizers.build_optimizer(config.to_flat(), network.parameters())
            train(config, network, images, optimizer, precision)

    if device != "cuda":
        extra = peak_extra_bytes(two_steps)
        return None if extra is None else extra / 1e9
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    two_steps()
    return torch.cuda.max_memory_allocated() / 1e9


def planned_gigabytes(
    backbone: str, device: str, precision: str, *, image_size: int = 224, batch_size: int = 32
) -> float | None:
    """Return what a simulation's plan takes that peak to be on CUDA, in 10⁹ bytes, else None."""
    if device != "cuda":
        return None
    config = configured(backbone, device, image_size=image_size, batch_size=batch_size)
    return (training_memory(config.replace(precision=precision)).gpu - CUDA_BYTES) / 1e9


def train(
    config: ExperimentConfig,
    network: Backbone,
    images: Split,
    optimizer: torch.optim.Optimizer,
    precision: str,
) -> None:
    """Train an epoch as a run does, with the same random numbers in every call."""
    with layer_randomness(0, torch.device(config.device)):
        train_epoch(
            network,
            images,
            optimizer,
            batch_size=config.batch_size,
            preprocessing=preprocessing(config),
            generator=torch.Generator().manual_seed(0),
            precision=precision,
        )


@contextmanager
def pytorch_defaults() -> Iterator[None]:
    """Undo `use_exact_kernels` for a while."""
    if not torch.cuda.is_available():
        yield
        return
    torch.backends.cudnn.allow_tf32 = True
    torch.use_deterministic_algorithms(False)
    for enable in attention_kernels():
        enable(True)
    try:
        yield
    finally:
        use_exact_kernels()


def _flat(tensors: list[Tensor | None]) -> Tensor:
    return torch.cat([t.detach().double().cpu().reshape(-1) for t in tensors if t is not None])


def _error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())
