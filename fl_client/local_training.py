"""The client's computations: one round's training, and the evaluation of a model."""

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_model import open_model
from fl_client.method_half import MethodHalf, keep_own, with_own
from models.backbones import Backbone
from strategies.expected_replies import CLASS_COUNTS
from strategies.method import is_carried
from training import optimizers
from training.clip_text import ClipText
from training.network import sent_part
from training.round_files import OptimizerStates
from training.schedules import learning_rate
from training.split import Split
from training.task import Task

Metrics = dict[str, int | float | list[int] | list[float]]


def train_locally(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None = None,
) -> tuple[dict[str, NDArray], Metrics]:
    """Validate the received global model, then train it on the client's images.

    Needs memory for the model, its gradients and the optimizer's state, and for what the method
    keeps: its state, and the received weights if it asks for them.

    Args:
        received: the global weights, and what the method carries beside them, read only.
        settings: ``round``, ``client-index``, the federation's ``class-counts`` if they are asked
            for, and those of `fl_client.local_model.open_model` and
            `MethodHalf`.

    Returns:
        What is returned: of the sent part, which shares the model's memory, what does not stay
        here, and what is carried beside it. And the metrics: ``num-examples``, ``train-loss``,
        seconds by phase, those of `evaluate_locally` for the validation split, and the method's.

    Raises:
        TrainingError: the received weights do not fit, or the loss became NaN or infinite.
    """
    config = client.config
    round_number, index = int(settings["round"]), int(settings["client-index"])
    received = with_own(client, received, settings, before=round_number)
    weights = {name: array for name, array in received.items() if not is_carried(name)}
    task, model, splits = open_model(client, weights, settings, text)
    del weights
    metrics: Metrics = {}
    if round_number > 1:  # the initial weights of round one are not validated
        metrics |= _judge(client, task, model, splits, "validation")

    started = time.perf_counter()
    trained = model.trained()
    rate = learning_rate(config, round_number, config.rounds)
    optimizer = optimizers.build_optimizer(config.to_flat(), trained.values(), rate)
    states = OptimizerStates(client.folder / "optimizer", keep=config.client_optimizer)
    metrics["optimizer-round"] = states.load(model, optimizer, before=round_number)
    half = MethodHalf(client, trained, received, settings, rate)
    del received  # freed here unless the method, or the message elsewhere, still holds it
    train_loss = task.train(
        model,
        splits["train"],
        optimizer,
        round_number=round_number,
        rounds=config.rounds,
        client_index=index,
        epochs=config.local_epochs,
        class_counts=settings.get(CLASS_COUNTS),
        before_step=half.before_step,
    )
    carried, scalars = half.finish()
    states.save(model, optimizer, round_number)
    returned = keep_own(client, sent_part(model), settings)
    metrics["num-examples"] = len(splits["train"])
    metrics["train-loss"] = train_loss
    metrics["seconds-training"] = time.perf_counter() - started
    return {**returned, **carried}, {**metrics, **scalars}


def evaluate_locally(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None = None,
) -> Metrics:
    """Evaluate a received model on the splits in ``settings``: ``splits``, comma-separated.

    Returns:
        For each split ``<split>-loss``, ``<split>-confusion`` (K² counts, row by row), the same by
        patient as ``<split>-patient-confusion`` if patients are known, the histograms of
        `strategies.histograms` if the client may send them, and ``<split>-examples``; and
        ``num-examples``, the number of evaluated images.
    """
    task, model, splits = open_model(client, received, settings, text)
    metrics: Metrics = {}
    num_examples = 0
    for split in str(settings["splits"]).split(","):
        metrics |= _judge(client, task, model, splits, split)
        num_examples += len(splits[split])
    return {**metrics, "num-examples": num_examples}


def _judge(
    client: Client, task: Task, model: Backbone, splits: Mapping[str, Split], split: str
) -> Metrics:
    started = time.perf_counter()
    result = task.evaluate(model, splits[split])
    counts = result.images.counts(exact=False)
    metrics: Metrics = {
        f"{split}-loss": result.loss,
        f"{split}-confusion": [int(count) for count in counts.confusion.flat],
        f"{split}-examples": len(splits[split]),
        f"seconds-{split}": time.perf_counter() - started,
    }
    if client.histograms and counts.histograms is not None:
        fields = counts.histograms.to_fields()
        metrics |= {f"{split}-{name}": value for name, value in fields.items()}
    if result.patients is not None:
        patients = result.patients.confusion
        metrics[f"{split}-patient-confusion"] = [int(count) for count in patients.flat]
    return metrics
