"""The client's computations: one round's training, and the evaluation of a model."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_model import LocalModel, open_model, save_final_model
from fl_client.method_half import MethodHalf, keep_own, with_own
from strategies.expected_replies import SHARED_TEST
from strategies.method import is_carried
from strategies.methods import METHODS
from strategies.temperature_losses import FIELD as TEMPERATURE_LOSSES
from training import optimizers
from training.clip_text import ClipText
from training.network import sent_part
from training.predictions import write_predictions
from training.round_files import OptimizerStates
from training.schedules import learning_rate
from training.temperature import temperature_losses

Metrics = dict[str, int | float | list[int] | list[float]]


def train_locally(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None = None,
    *,
    reuse: bool = False,
) -> tuple[dict[str, NDArray], Metrics]:
    """Validate the received global model, then train it on the client's images.

    Needs memory for the model, its gradients and the optimizer's state, and for what the method
    keeps: its state, and the received weights if it asks for them.

    Args:
        received: the global weights, and what the method carries beside them, read only.
        settings: ``round``, and those of `fl_client.local_model` and `MethodHalf`.
        reuse: as in `training.task.Task.restore`; the result is then valid until the next call.

    Returns:
        What is returned: of the sent part, which shares the model's memory, what does not stay
        here, and what is carried beside it. And the metrics: ``num-examples``, ``train-loss``,
        seconds by phase, those of `evaluate_locally` for the validation split, and the method's.

    Raises:
        TrainingError: the received weights do not fit, or the loss became NaN or infinite.
    """
    config = client.config
    round_number = int(settings["round"])
    has_own = METHODS[config.strategy].own_half is not None
    metrics: Metrics = {}
    seconds = 0.0
    if has_own:
        metrics, seconds = _train_own(client, received, settings, text)
    else:
        received = with_own(client, received, settings, before=round_number)
    weights = {name: array for name, array in received.items() if not is_carried(name)}
    model = open_model(client, weights, settings, text, reuse=reuse)
    del weights
    if round_number > 1 and not has_own:  # the initial weights of round one are not validated
        metrics |= _judge(model, "validation")
    started = time.perf_counter()
    rate = learning_rate(config.to_flat(), round_number, config.rounds)
    half = MethodHalf(client, model.network.trained(), received, settings, rate)
    del received  # freed here unless the method, or the message elsewhere, still holds it
    metrics |= _train(model, rate, half.before_step)
    carried, scalars = half.finish()
    whole = sent_part(model.network)
    returned = whole if has_own else keep_own(client, whole, settings)
    metrics["seconds-training"] = seconds + time.perf_counter() - started
    return {**returned, **carried}, {**metrics, **scalars}


def _train_own(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None,
) -> tuple[Metrics, float]:
    """Validate this client's own model, train it beside the shared one, and keep it.

    Returns:
        The metrics of the validation, and the seconds of the training.
    """
    round_number = int(settings["round"])
    shared = {name: array for name, array in received.items() if not is_carried(name)}
    own = with_own(client, shared, settings, before=round_number)
    model = open_model(client, own, settings, text)
    del own
    metrics: Metrics = {}
    if round_number > 1:
        metrics |= _judge(model, "validation")
    started = time.perf_counter()
    rate = learning_rate(client.config.to_flat(), round_number, client.config.rounds)
    half = MethodHalf(client, model.network.trained(), shared, settings, rate, own=True)
    _train(model, rate, half.before_step, own=True)
    half.finish()
    keep_own(client, sent_part(model.network), settings)
    return metrics, time.perf_counter() - started


def _train(
    model: LocalModel, rate: float, before_step: Callable[[], None] | None, *, own: bool = False
) -> Metrics:
    """Train a model for a round; return what the reply says of it."""
    config, network, round_number = model.client.config, model.network, int(model.settings["round"])
    optimizer = optimizers.build_optimizer(config.to_flat(), network.trained().values(), rate)
    folder = model.client.folder / ("own-optimizer" if own else "optimizer")
    states = OptimizerStates(folder, keep=config.client_optimizer)
    counted = int(model.settings.get("counted", round_number))
    since = states.load(network, optimizer, before=round_number, counted=counted)
    loss = model.train(
        optimizer,
        round_number=round_number,
        epochs=config.local_epochs,
        before_step=before_step,
    )
    states.save(network, optimizer, round_number)
    num_examples = len(model.splits["train"])
    return {"optimizer-round": since, "train-loss": loss, "num-examples": num_examples}


def evaluate_locally(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None = None,
    *,
    reuse: bool = False,
) -> Metrics:
    """Evaluate a received model, or what this client has made of it, and at a site store that.

    The predictions for the client's own test images stay in its folder.

    Where clients have models of their own, ``test`` is of this client's, and ``shared-test`` of the
    received one on the same images. ``validation`` is of the model that rounds validate: what is
    fine-tuned is only tested.

    Args:
        settings: ``splits``, comma-separated; and ``round``, that of the weights.

    Returns:
        For each split ``<split>-loss``, ``<split>-confusion`` (K² counts, row by row), the same by
        patient as ``<split>-patient-confusion`` if patients are known, the histograms of
        `strategies.histograms` if the client may send them, with those of validation the sums of
        `strategies.temperature_losses`, and ``<split>-examples``; and ``num-examples``, the number
        of evaluated images.
    """
    wanted = str(settings["splits"]).split(",")
    method, judged = METHODS[client.config.strategy], int(settings.get("round", 0))
    own: Mapping[str, NDArray] = with_own(client, received, settings, before=judged + 1)
    model = open_model(client, own, settings, text, reuse=reuse)
    metrics: Metrics = {}
    if "validation" in wanted:
        metrics |= _judge(model, "validation", calibrates=True)
    if SHARED_TEST in wanted:
        shared = open_model(client, received, settings, text) if method.own_names(own) else model
        metrics |= _judge(shared, "test", SHARED_TEST)
    if method.tuning_epochs is not None:
        _tune(model, method.tuning_epochs(client.config.to_flat()))
        own = sent_part(model.network)
    if "test" in wanted:
        metrics |= _judge(model, "test")
    if client.is_site:
        save_final_model(client, own, settings, text)
    evaluated = [model.splits["test" if name == SHARED_TEST else name] for name in wanted]
    return {**metrics, "num-examples": sum(map(len, evaluated))}


def _tune(model: LocalModel, epochs: int) -> None:
    """Train an evaluated model further, as if in the round that would follow."""
    if not epochs:
        return
    config = model.client.config
    trained, rate = model.network.trained().values(), float(config.learning_rate)
    optimizer = optimizers.build_optimizer(config.to_flat(), trained, rate)
    model.train(optimizer, round_number=int(model.settings["round"]) + 1, epochs=epochs)


def _judge(model: LocalModel, split: str, name: str = "", *, calibrates: bool = False) -> Metrics:
    started = time.perf_counter()
    client, task = model.client, model.task
    judge = task.judge if split == "test" else task.evaluate
    result = judge(model.network, model.splits[split])
    counts = result.images.counts(exact=False)
    name = name or split
    if split == "test":
        write_predictions(
            client.folder / f"predictions-{name}.csv",
            client.rows.iloc[client.splits[split].indices],
            result.images.probabilities,
            client.classes,
            by_patient=result.patients is not None,
        )
    metrics: Metrics = {
        f"{name}-loss": result.loss,
        f"{name}-confusion": [int(count) for count in counts.confusion.flat],
        f"{name}-examples": len(model.splits[split]),
        f"seconds-{name}": time.perf_counter() - started,
    }
    if client.histograms and counts.histograms is not None:
        fields = counts.histograms.to_fields()
        metrics |= {f"{name}-{field}": value for field, value in fields.items()}
        if calibrates:
            metrics[f"{name}-{TEMPERATURE_LOSSES}"] = temperature_losses(result.images).tolist()
    if result.patients is not None:
        patients = result.patients.confusion
        metrics[f"{name}-patient-confusion"] = [int(count) for count in patients.flat]
    return metrics
