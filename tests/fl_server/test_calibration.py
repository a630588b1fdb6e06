"""The calibration of a federation: from the clients' counts alone, and of which models it is."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import MetricRecord

from fl_server.client_evaluation import pooled_calibration
from operation.files import read_json
from strategies.replies import Replies, Reply
from strategies.temperature_losses import FIELD
from tests.fl_server.clients_in_memory import run_in_memory
from training.calibration import Calibration, calibrate
from training.errors import RunFolderError
from training.score_counts import Answers, Histograms
from training.temperature import temperature_losses

CLASSES = ("A", "B", "C")


def random_answers(images: int, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(len(CLASSES)), images).astype(np.float32)
    return Answers(probabilities, rng.integers(0, len(CLASSES), images))


def reply(client: str, answers: Answers, *, histograms: bool = True) -> Reply:
    counts = answers.counts(exact=False)
    assert counts.histograms is not None
    sent = {"confusion": [int(n) for n in counts.confusion.flat]}
    if histograms:
        sent |= {**counts.histograms.to_fields(), FIELD: temperature_losses(answers).tolist()}
    metrics = {f"validation-{name}": value for name, value in sent.items()}
    return Reply(client, {}, MetricRecord(metrics), 0)


def of(answers: Answers, coverage: float = 0.9) -> Calibration:
    return calibrate(
        answers.counts(exact=False).histograms,
        temperature_losses(answers),
        num_classes=len(CLASSES),
        coverage=coverage,
    )


def test_it_is_that_of_the_pooled_images_of_those_who_send_histograms() -> None:
    parts = [random_answers(n, seed) for seed, n in enumerate((60, 90, 50))]
    replies = [reply("a", parts[0]), reply("b", parts[1]), reply("c", parts[2], histograms=False)]
    replies.append(reply("d", random_answers(0, 4), histograms=False))
    found = pooled_calibration(Replies(replies, {"e": "is ill"}), 3, 0.9, own=False)
    whole = Answers(
        np.concatenate([part.probabilities for part in parts[:2]]),
        np.concatenate([part.labels for part in parts[:2]]),
    )
    expected = of(whole)
    assert found.missing == {"e": "is ill", "c": "sends no histograms"}
    assert found.images == expected.images
    assert (found.threshold, found.thresholds) == (expected.threshold, expected.thresholds)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-9)
    assert found.too_few(CLASSES) is None
    assert Calibration.of_block(found.to_block(), 3) == found


def test_nobody_with_histograms_leaves_every_class_in_every_set() -> None:
    found = pooled_calibration(Replies(), 3, 0.95, own=False)
    assert (found.temperature, found.threshold, found.thresholds) == (1.0, 0.0, (0.0,) * 3)
    assert found.too_few(CLASSES) == (
        "coverage = 0.95 needs 19 validation images, and there are 0: every prediction set has "
        "all classes"
    )
    assert found.blocks(random_answers(20, 0))["sets"]["marginal"]["size"] == 3.0


def test_a_class_with_too_few_images_is_in_every_set_by_class() -> None:
    """Nine are enough for 0.9, eight are not."""
    labels = np.repeat([0, 1, 2], [9, 8, 0])
    probabilities = np.full((17, 3), [0.2, 0.3, 0.5])
    found = of(Answers(probabilities, labels))
    assert [threshold > 0 for threshold in found.thresholds] == [True, False, False]
    assert found.threshold > 0
    assert found.too_few(CLASSES) == (
        "coverage = 0.9 needs 9 of each class, and there are of B 8, C 0: these "
        "classes are in every set by class"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"thresholds": [0.5]},
        {"thresholds": [0.5, 2.0, 0.1]},
        {"images": "many"},
        {"missing": 3},
    ],
)
def test_a_damaged_calibration_is_refused(change: dict[str, object]) -> None:
    block = of(random_answers(50, 0)).to_block()
    with pytest.raises(RunFolderError, match="its calibration is damaged"):
        Calibration.of_block({**block, **change}, 3)
    del block["of"]
    with pytest.raises(RunFolderError, match="its calibration is damaged"):
        Calibration.of_block(block, 3)


@pytest.mark.usefixtures("flower_run")
@pytest.mark.parametrize(
    "strategy",
    [
        "fedavg",
        pytest.param("finetune", marks=pytest.mark.slow),
        pytest.param("fedper", marks=pytest.mark.slow),
    ],
)
def test_sets_are_of_the_models_that_were_calibrated(
    synthetic_ham: Path, cache: Path, tmp_path: Path, strategy: str
) -> None:
    """Fine-tuned models are tested only, and with FedPer's the clients validate their own."""
    found = run_in_memory(synthetic_ham, cache, tmp_path, strategy=strategy, rounds=1, coverage=0.7)
    calibration = Calibration.of_block(found["calibration"], 7)
    assert calibration.coverage == 0.7
    assert calibration.own == (strategy == "fedper")
    assert ("sets" in found["client_test"]) == (strategy != "finetune")
    if strategy == "fedper":  # no one model was trained whole
        assert found.keys().isdisjoint({"global_test", "shared"})
        assert not list(tmp_path.glob("predictions-*"))
    else:
        assert "sets" in found["global_test"]
        assert "sets" not in found["last"]["global_test"]
    if strategy == "finetune":
        assert "sets" in found["shared"]["client_test"]
    kept = read_json(tmp_path / "histograms.json")
    assert kept is not None
    parts = [Histograms.of_fields(kept["validation"][name], 7) for name in found["clients"]]
    assert sum(part.num_images for part in parts if part) == sum(calibration.images)
    if strategy == "fedavg":
        test = [Histograms.of_fields(kept["client_test"][name], 7) for name in found["clients"]]
        assert None not in test
        pooled = sum(test[1:], test[0])  # type: ignore[type-var, arg-type]
        assert found["client_test"]["sets"] == calibration.figures(pooled)  # type: ignore[arg-type]
