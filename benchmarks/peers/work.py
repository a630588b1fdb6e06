"""The work that all frameworks do, written to files that need nothing of this project."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_partition.synthetic_ham10000 import write_ham10000
from fl_server.federated_config import Resources, prepare_simulated
from models.registry import find_backbone
from training.config import ExperimentConfig
from training.epoch import batch_slices
from training.experiment_data import open_federated_data, open_test_data
from training.inference import Preprocessing
from training.randomness import derive_seed
from training.split import FederatedData
from training.task import Task


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        folder: holds ``config.toml`` for ``fedskin simulate``, and the files of
            ``apps/client_work.py`` for all others.
        config: resolved.
        resources: how fedskin runs the clients.
    """

    folder: Path
    config: ExperimentConfig
    resources: Resources


def prepare(folder: Path, *, rounds: int, images: int) -> Work:
    """Write synthetic images, and the batches that fedskin draws from them.

    Args:
        folder: must be empty.
        rounds: number of rounds.
        images: number of images; each of three clients trains on 60 % of its third.
    """
    write_ham10000(folder / "data", images)
    wanted = ExperimentConfig().replace(
        data_dir=str(folder / "data"),
        cache_dir=str(folder / "cache"),
        backbone="convnext_t",
        pretrained=False,
        image_size=64,
        batch_size=16,
        rounds=rounds,
        device="cpu",
    )
    config, resources = prepare_simulated(wanted)
    (folder / "config.toml").write_text(wanted.to_toml(), encoding="utf-8")
    data = open_federated_data(config)
    open_test_data(config)
    num_classes = len(data.store.classes)
    network = Task(config, num_classes).build()
    np.savez(
        folder / "weights.npz",
        **{_torchvision_name(name): value.numpy() for name, value in network.state_dict().items()},
    )
    for client in range(config.clients):
        np.savez(folder / f"client-{client}.npz", **_batches(config, data, client))
    _write_job(folder, config, data, num_classes)
    return Work(folder, config, resources)


def _torchvision_name(name: str) -> str:
    return name.removeprefix("trunk.").replace("head.", "classifier.2.")


def _batches(config: ExperimentConfig, data: FederatedData, client: int) -> dict[str, np.ndarray]:
    """Return a client's batches of every round one after the other, as `train_epoch` makes them."""
    spec = find_backbone(config.backbone)
    preprocessing = Preprocessing(config.image_size, spec.mean, spec.std)
    split = data.split(f"client-{client}", "train")
    arrays = {}
    for number in range(1, config.rounds + 1):
        generator = torch.Generator().manual_seed(_seed(config, number, client, "batches"))
        order = split.indices[torch.randperm(len(split), generator=generator).numpy()]
        parts = [order[part] for part in batch_slices(len(split), config.batch_size)]
        made = [
            preprocessing.for_training(torch.from_numpy(split.images[part]), generator)
            for part in parts
        ]
        arrays[f"images-{number}"] = torch.cat(made).numpy()
        arrays[f"labels-{number}"] = split.labels[order]
    held = data.split(f"client-{client}", "validation")
    stored = torch.from_numpy(held.images[held.indices])
    arrays["validation-images"] = preprocessing.for_evaluation(stored).numpy()
    arrays["validation-labels"] = held.labels[held.indices]
    return arrays


def _write_job(
    folder: Path, config: ExperimentConfig, data: FederatedData, num_classes: int
) -> None:
    clients, rounds = range(config.clients), range(1, config.rounds + 1)
    (train_images,) = {len(data.split(f"client-{client}", "train")) for client in clients}
    if train_images % config.batch_size:
        raise ValueError(f"{train_images} training images are no batches of {config.batch_size}")
    job = {
        "clients": config.clients,
        "rounds": config.rounds,
        "classes": num_classes,
        "train_images": train_images,
        "batch_size": config.batch_size,
        "batches": train_images // config.batch_size,
        "sgd": {"lr": config.learning_rate, "weight_decay": config.weight_decay},
        "layer_seeds": [
            [_seed(config, number, client, "layers") for number in rounds] for client in clients
        ],
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _seed(config: ExperimentConfig, round_number: int, client: int, purpose: str) -> int:
    return derive_seed(config.seed, round_number=round_number, client_index=client, purpose=purpose)
