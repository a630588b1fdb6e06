"""The computation of a federated run as a plain single-process PyTorch script."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.registry import find_backbone
from training import optimizers
from training.config import ExperimentConfig
from training.epoch import evaluate, train_epoch
from training.inference import Preprocessing
from training.network import move_to_device
from training.randomness import derive_seed, layer_randomness
from training.split import FederatedData
from training.task import Task

State = dict[str, Tensor]


@dataclass(frozen=True)
class PlainRound:
    """One round of the plain loop.

    Attributes:
        seconds: its duration.
        cpu_seconds: CPU time of this process, all threads together.
        train_loss: mean over the images of all shards.
    """

    seconds: float
    cpu_seconds: float
    train_loss: float


def run_plain_loop(config: ExperimentConfig, data: FederatedData, rounds: int) -> list[PlainRound]:
    """Train on the shards one after the other and average, round after round.

    For each shard, a round loads the global weights into the single model, evaluates them on the
    shard's validation images (from round two on) and trains an epoch with a new optimizer. Then the
    shards' weights are averaged. Store, batches, their order, crops and flips, the layers'
    randomness and the optimizer are those of the federated run with this config, so the losses are
    equal up to rounding. Everything that a plain script does not need is left out: no checkpoints,
    no child processes, no serialisation, no metrics. torch uses its current number of threads.

    Args:
        config: resolved; strategy fedavg, fresh optimizers.
        data: the data with its shards.
        rounds: number of rounds.
    """
    classes = len(data.store.classes)
    names = [f"client-{index}" for index in range(config.clients)]
    train = [data.split(name, "train") for name in names]
    validation = [data.split(name, "validation") for name in names]
    spec = find_backbone(config.backbone)
    preprocessing = Preprocessing(config.image_size, spec.mean, spec.std)
    model = move_to_device(Task(config, classes).build(), config)
    global_state: State = {name: value.clone() for name, value in model.state_dict().items()}

    results = []
    for round_number in range(1, rounds + 1):
        started, cpu_started = time.perf_counter(), time.process_time()
        states: list[State] = []
        total_loss = 0.0
        for index in range(config.clients):
            model.load_state_dict(global_state)
            if round_number > 1:
                evaluate(
                    model,
                    validation[index],
                    num_classes=classes,
                    batch_size=config.batch_size,
                    preprocessing=preprocessing,
                    precision=config.precision,
                )
            optimizer = optimizers.build_optimizer(config.to_flat(), model.parameters())
            batches, layers = (
                derive_seed(
                    config.seed, round_number=round_number, client_index=index, purpose=purpose
                )
                for purpose in ("batches", "layers")
            )
            with layer_randomness(layers, torch.device(config.device)):
                loss = train_epoch(
                    model,
                    train[index],
                    optimizer,
                    batch_size=config.batch_size,
                    preprocessing=preprocessing,
                    generator=torch.Generator().manual_seed(batches),
                    precision=config.precision,
                )
            total_loss += loss * len(train[index])
            states.append({name: value.clone() for name, value in model.state_dict().items()})
        global_state = _average(states)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
        mean_loss = total_loss / sum(len(split) for split in train)
        results.append(PlainRound(seconds, cpu_seconds, mean_loss))
    return results


@torch.no_grad()
def _average(states: Sequence[Mapping[str, Tensor]]) -> State:
    mean: State = {}
    for name, first in states[0].items():
        total = first.clone()
        for state in states[1:]:
            total += state[name]
        mean[name] = total / len(states) if total.is_floating_point() else first
    return mean
