"""Figures of runs that were not made: seeded random counts, and what follows from them."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_partition.brats2019_volumes import BRATS2019_CLASSES
from data_partition.ham10000_tables import HAM10000_CLASSES
from strategies.histograms import CONFIDENCE_BINS
from training.config import ExperimentConfig, Scalar
from training.head_settings import FITTED_WITH, head_values
from training.metrics import METRIC_NAMES, figures
from training.score_counts import Histograms, ScoreCounts
from training.scores import score_block
from training.uncertainty import PERCENTILES, paired_test

HEAD_SETTINGS: dict[str, dict[str, Scalar]] = {
    "knn": {"n_neighbors": 5},
    "svm": {"C": 1.0, "gamma": "scale"},
    "rf": {"n_estimators": 100, "max_features": "sqrt", "min_samples_leaf": 1},
}
RESAMPLES = 100  # of the bootstrap; real runs draw more, which takes longer


class Images(NamedTuple):
    """A data set: its classes, and how many images of each there are in each part of it."""

    classes: tuple[str, ...]
    training: tuple[int, ...]
    test: tuple[int, ...]
    slices: int | None  # of a patient


# HAM10000 with the ISIC2018 test set, and BraTS2019's 231 and 68 patients.
IMAGES = {
    "ham10000": Images(
        HAM10000_CLASSES,
        (327, 514, 1099, 115, 1113, 6705, 142),
        (43, 93, 217, 44, 171, 908, 35),
        None,
    ),
    "brats2019": Images(BRATS2019_CLASSES, (178 * 8, 53 * 8), (52 * 8, 16 * 8), 8),
}


class Judge:
    """Draws a trial's counts: it learns, saturates, and is better with some settings."""

    def __init__(self, command: str, config: ExperimentConfig) -> None:
        self.command = command
        self.config = config
        self.images = IMAGES[config.dataset]
        self.federated = command == "simulate"
        self.num_rounds = config.rounds if self.federated else config.epochs
        self.clients = [f"client-{i}" for i in range(config.clients)] if self.federated else []
        settings = (config.strategy, config.optimizer, config.text_encoder, config.dataset)
        # The backbone makes the most difference, the seed the least.
        self.skill = 0.75 + sum(
            scale * (_generator(*what).random() - 0.5)
            for scale, what in (
                (0.2, (config.backbone,)),
                (0.1, (config.backbone, command, *settings)),
                (0.02, (config.backbone, command, *settings, config.seed)),
            )
        )
        self.generator = _generator(command, *config.to_flat().values())

    def round(self, number: int) -> dict[str, Any]:
        """Return a line of rounds.jsonl."""
        skill = self.skill * (1 - 0.6 * 0.9**number)
        train_loss = 2 * (1 - skill)
        if not self.federated:
            return {
                "round": number,
                "train_loss": train_loss,
                "examples": sum(self.images.training) * 4 // 5,
                "seconds": {"training": 40.0, "validation": 2.5, "round": 42.5},
                "failures": {},
                "validation": {"pooled": self._blocks(_part(self.images.training, 5), skill, 1)[0]},
            }
        examples = sum(self.images.training) // 5
        bytes_of_one = 1_000_000 * (50 + len(self.config.backbone))
        return {
            "round": number,
            "train_loss": train_loss,
            "examples": examples * len(self.clients),
            "bytes_sent": bytes_of_one * len(self.clients),
            "bytes_received": bytes_of_one * len(self.clients),
            "seconds": {
                "clients": 50.0,
                "aggregation": 0.5,
                "transport": 5.0,
                "waiting": 1.5,
                "round": 51.0,
                "checkpoint": 1.0,
            },
            "clients": {
                name: {
                    "examples": examples,
                    "train_loss": train_loss,
                    "optimizer_round": 0,
                    "bytes_received": bytes_of_one,
                    "update": {
                        "norm": 1.5,
                        "cosine": 0.9,
                        "times_median": 1.0,
                        "clipped": False,
                    },
                    # The first model is nobody's to validate.
                    "seconds": {
                        **({} if number == 1 else {"validation": 2.5}),
                        "training": 40.0,
                        "message": 45.0,
                    },
                }
                for name in self.clients
            },
            "failures": {},
            "warnings": [],
            "validation": self._over_clients(skill),
        }

    def metrics(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Return metrics.json."""
        averages = [record["validation"]["pooled"]["avg"] for record in records]
        best = int(np.argmax(averages))
        result = {
            **self._figures(),
            "last": self._figures(),
            "best_by": "avg",
            "best_round": best + 1,
            "rounds": len(records),
            "weights_sha256": self.generator.bytes(32).hex(),
        }
        result["validation"] = records[best]["validation"]["pooled"]
        if self.federated:
            result["participation"] = dict.fromkeys(self.clients, len(records))
        if self.command == "heads":
            result["heads"] = self._heads(result["global_test"])
            result[FITTED_WITH] = head_values(self.config)
        return result

    def _figures(self) -> dict[str, Any]:
        [block] = self._blocks(self.images.test, self.skill, 1)
        block["intervals"] = self._intervals(block)
        block["in_training"] = 0
        if not self.federated:
            return {"global_test": block}
        tests = self._over_clients(self.skill)
        return {"global_test": block, "client_test": tests["pooled"], "clients": tests["clients"]}

    def _over_clients(self, skill: float) -> dict[str, Any]:
        blocks = self._blocks(_part(self.images.training, 15), skill, len(self.clients))
        *each, pooled = blocks
        pooled |= {"missing": {}, "no_histograms": {}}
        return {"clients": dict(zip(self.clients, each, strict=True)), "pooled": pooled}

    def _blocks(self, support: tuple[int, ...], skill: float, parts: int) -> list[dict[str, Any]]:
        """Draw counts of as many parts, each of ``support`` images; the sum follows, if many."""
        counts = self._counts(support, skill, parts)
        blocks = _metric_blocks(counts, loss=2 * (1 - skill))
        if self.images.slices is not None:
            patients = tuple(n // self.images.slices for n in support)
            for block, found in zip(
                blocks, _metric_blocks(self._counts(patients, skill, parts)), strict=True
            ):
                block["patients"] = found
        return blocks

    def _counts(self, support: tuple[int, ...], skill: float, parts: int) -> NDArray[np.int64]:
        num_classes = len(support)
        wrong = (1 - skill) / (num_classes - 1)
        shares = np.full((num_classes, num_classes), wrong)
        np.fill_diagonal(shares, skill)
        counts = self.generator.multinomial(np.array(support), shares, (parts, num_classes))
        return counts if parts == 1 else np.concatenate([counts, counts.sum(0, keepdims=True)])

    def _intervals(self, block: dict[str, Any]) -> dict[str, list[float]]:
        """Bootstrap the images: the same as `training.uncertainty.intervals`, from the counts."""
        cells = np.array(block["confusion"])
        drawn = self.generator.multinomial(block["n"], cells.ravel() / block["n"], RESAMPLES)
        bounds = np.percentile(figures(drawn.reshape(-1, *cells.shape)), PERCENTILES, axis=0)
        return dict(zip(METRIC_NAMES, bounds.T.tolist(), strict=True))

    def _heads(self, network: dict[str, Any]) -> dict[str, Any]:
        kept = network.keys() - {"loss", "in_training"}
        found = {"network": {k: v for k, v in network.items() if k in kept}}
        labels, answers = _answers(network)
        for head, settings in HEAD_SETTINGS.items():
            skill = self.skill + 0.1 * (_generator(self.config.backbone, head).random() - 0.3)
            [block] = _metric_blocks(self._counts(self.images.test, skill, 1))
            found[head] = {
                **block,
                "intervals": self._intervals(block),
                "settings": settings,
                "against_network": paired_test(
                    labels,
                    answers,
                    _answers(block)[1],
                    len(self.images.classes),
                    seed=self.config.seed,
                    resamples=RESAMPLES,
                ),
            }
        return found


def _metric_blocks(counts: NDArray[np.int64], **more: float) -> list[dict[str, Any]]:
    """Blocks of scores of classifiers that are always certain."""
    return [{**score_block(certain(matrix)), **more} for matrix in counts]


def certain(confusion: NDArray[np.int64]) -> ScoreCounts:
    """The counts of a classifier that gives every class that it predicts probability 1."""
    hits, truth, answers = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    num_images = int(confusion.sum())
    of_class = [
        np.array([[num_images - t - a + h, a - h], [t - h, h]])
        for h, t, a in zip(hits, truth, answers, strict=True)
    ]
    confidence = np.zeros((CONFIDENCE_BINS, 2), dtype=np.int64)
    confidence[-1] = num_images - hits.sum(), hits.sum()
    sums = confidence.sum(axis=1).astype(np.float64)
    wrong = float(num_images - hits.sum())
    return ScoreCounts(confusion, Histograms(of_class, confidence, sums, 2 * wrong))


def _answers(block: dict[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels and answers (n,) that give the block's counts."""
    confusion = np.array(block["confusion"])
    labels, answers = np.indices(confusion.shape).reshape(2, -1).repeat(confusion.ravel(), axis=1)
    return labels, answers


def _part(support: tuple[int, ...], parts: int) -> tuple[int, ...]:
    return tuple(n // parts for n in support)


def _generator(*what: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(what).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
