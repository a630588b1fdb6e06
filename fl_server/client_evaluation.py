"""Evaluation: the clients' replies, and scores from their counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from models.backbones import Backbone
from strategies.arrays import to_record
from strategies.averaging import Averaging
from strategies.histograms import FIELDS
from strategies.replies import Replies, Reply
from strategies.temperature_losses import FIELD, TEMPERATURES
from training.calibration import Calibration, calibrate
from training.config import ExperimentConfig
from training.metrics import confusion_matrix
from training.network import features_of
from training.score_counts import Histograms, ScoreCounts
from training.scores import score_block
from training.split import GlobalTestSet


def client_metrics(
    replies: Replies,
    split: str,
    num_classes: int,
    best_by: str = "loss",
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Return the clients' scores on one of their splits, by client and pooled.

    Args:
        replies: with the metrics ``<split>-confusion``, ``-loss`` and ``-examples``.
        split: ``validation`` or ``test``.
        best_by: as for `score_block`, for images.
        calibration: of the same model; the blocks then have the figures of its prediction ``sets``
            on the images of the clients that send histograms.

    Returns:
        ``clients`` by name and ``pooled``, each a block of scores with ``loss``, and with
        ``patients`` if the client, or any client, knows them. The pooled scores are those of the
        summed counts, the pooled loss is the mean over all images. ``missing`` has, by name, the
        reason why a client that was asked is not pooled; the pooled ``patients`` have their own,
        since a client may send counts of images only. ``no_histograms`` has the pooled clients
        whose images are not in the scores that need histograms.
    """
    clients: dict[str, dict[str, Any]] = {}
    # Sums, not the counts of each client: of 32 classes these are half a megabyte.
    together, by_patient = (ScoreCounts.pooled((), num_classes) for _ in range(2))
    unknown: dict[str, str] = {}
    no_histograms: dict[str, str] = {}
    total_loss = 0.0
    for reply in replies.accepted:
        images = counts_of(reply, split, num_classes)
        together = together.plus(images)
        loss = float(str(reply.metrics[f"{split}-loss"]))
        clients[reply.client] = {**score_block(images, best_by), "loss": loss}
        clients[reply.client] |= _sets(images, calibration)
        total_loss += loss * images.num_images
        if images.histograms is None and images.num_images:
            no_histograms[reply.client] = "sends no histograms"
        if f"{split}-patient-confusion" in reply.metrics:
            patients = counts_of(reply, f"{split}-patient", num_classes)
            by_patient = by_patient.plus(patients)
            clients[reply.client]["patients"] = score_block(patients)
        else:
            unknown[reply.client] = "sends no counts of patients"
    pooled: dict[str, Any] = {
        **score_block(together, best_by),
        **_sets(together, calibration),
        "loss": total_loss / max(1, together.num_images),
        "missing": dict(replies.failures),
        "no_histograms": no_histograms,
    }
    if len(unknown) < len(clients):
        pooled["patients"] = {
            **score_block(by_patient),
            "missing": {**replies.failures, **unknown},
        }
    return {"clients": clients, "pooled": pooled}


def _sets(counts: ScoreCounts, calibration: Calibration | None) -> dict[str, Any]:
    if calibration is None or counts.histograms is None:
        return {}
    return {"sets": calibration.figures(counts.histograms)}


def histograms_of(
    replies: Replies, split: str, fields: Sequence[str] = FIELDS
) -> dict[str, dict[str, Any]]:
    """Return by client the histograms of one of their splits, as sent, of those that send them.

    Args:
        fields: of a reply, without the split's name.
    """
    found: dict[str, dict[str, Any]] = {}
    for reply in replies.accepted:
        sent = {name: reply.metrics.get(f"{split}-{name}") for name in fields}
        if None not in sent.values():
            found[reply.client] = sent
    return found


def pooled_calibration(
    replies: Replies, num_classes: int, coverage: float, *, own: bool
) -> Calibration:
    """Return the calibration on the pooled validation images of the clients that send histograms.

    Pooled, an image is as likely to be a client's as that client's share of all the images is, and
    the guarantee is for such an image (Lu, Yu, Karimireddy, Jordan, Raskar: Federated Conformal
    Predictors for Distributed Uncertainty Quantification, 2023).

    Args:
        replies: to the final evaluation of the best model.
        own: whether clients judged models of their own.
    """
    total, missing = ScoreCounts.pooled((), num_classes), dict(replies.failures)
    losses = np.zeros(len(TEMPERATURES))
    for reply in replies.accepted:
        counts = counts_of(reply, "validation", num_classes)
        if counts.histograms is not None:
            total = total.plus(counts)
            losses += np.array(reply.metrics[f"validation-{FIELD}"], dtype=np.float64)
        elif counts.num_images:
            missing[reply.client] = "sends no histograms"
    return calibrate(
        total.histograms,
        losses,
        num_classes=num_classes,
        coverage=coverage,
        own=own,
        missing=missing,
    )


def counts_of(reply: Reply, of: str, num_classes: int) -> ScoreCounts:
    """Return the counts in a reply, of a split, or of a split's patients."""
    prefix = f"{of}-"
    fields = {
        name.removeprefix(prefix): value
        for name, value in reply.metrics.items()
        if name.startswith(prefix)
    }
    confusion = np.array(fields["confusion"], dtype=np.int64).reshape(num_classes, num_classes)
    return ScoreCounts(confusion, Histograms.of_fields(fields, num_classes))


def judge_client_heads(
    grid: Grid,
    strategy: Averaging,
    arrays: ArrayRecord,
    network: Backbone,
    config: ExperimentConfig,
    test_data: GlobalTestSet,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """Let every client fit its own heads and classify the global test set.

    Args:
        arrays: the weights of ``network``, as sent.
        network: its features are used; on its device.
        test_data: the global test set; only its features are sent.

    Returns:
        By client the metric block of each head, or ``failed`` with the cause.
    """
    split = test_data.split
    features = features_of(network, split, config)
    messages = strategy.query_messages(
        "heads", arrays, settings, {"test": to_record({"features": features})}
    )
    replies = strategy.read_query(grid.send_and_receive(messages, timeout=config.longest_round))
    labels = split.own_labels
    result: dict[str, Any] = {}
    num_classes = len(test_data.classes)
    for reply in replies.accepted:
        answers = {
            key.removesuffix("-predicted"): np.array(value, dtype=np.int64)
            for key, value in reply.metrics.items()
            if key.endswith("-predicted")
        }
        result[reply.client] = {
            head: score_block(ScoreCounts(confusion_matrix(labels, predicted, num_classes)))
            for head, predicted in answers.items()
        }
    for client, cause in replies.failures.items():
        result[client] = {"failed": cause}
    return result
