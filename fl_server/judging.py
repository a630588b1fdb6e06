"""The judgement of a federated run's models, by its clients and on the server's test sets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from fl_server.client_evaluation import (
    client_metrics,
    histograms_of,
    judge_client_heads,
    pooled_calibration,
)
from strategies.averaging import Averaging
from strategies.exchange import Exchange
from strategies.expected_replies import SHARED_TEST
from strategies.histograms import FIELDS
from strategies.methods import METHODS
from strategies.replies import Replies
from strategies.temperature_losses import FIELD as TEMPERATURE_LOSSES
from training.calibration import Calibration
from training.checkpoint import OwnBest, Progress
from training.config import ExperimentConfig
from training.config_faults import HEAD_NAMES, all_stays
from training.evaluation import evaluate_on_test_set
from training.participation import participation, sampled
from training.run_folder import RunFolder
from training.split import GlobalTestSet
from training.task import Task
from training.weights import weights_sha256

_OF_VALIDATION = (*FIELDS, TEMPERATURE_LOSSES)


def own_best(config: ExperimentConfig, folder: RunFolder) -> OwnBest | None:
    """Return the best round of each client so far; None if one is the best for all.

    A client that trains alone would also choose alone.
    """
    if not all_stays(METHODS[config.strategy]):
        return None
    return OwnBest(config.best_by, folder.each_round())


def shares_features(exchange: Exchange) -> bool:
    """Return whether the clients' networks have the same features, on which they may fit heads."""
    return exchange.local_names <= set(HEAD_NAMES)


@dataclass(frozen=True)
class Judge:
    """Asks the clients how good a model is, and judges the last, the best and the averaged one.

    Memory: one model at a time, beside what the rounds hold, and while the average is judged the
        last one.

    Args:
        strategy: it knows the clients, and checks their replies.
        test_sets: the server's own, by the name of their block in metrics.json.
        settings: settings in every message.
        training_settings: further ones of training messages; clients that fine-tune need them, too.
    """

    grid: Grid
    strategy: Averaging
    task: Task
    folder: RunFolder
    test_sets: Mapping[str, GlobalTestSet]
    settings: Mapping[str, str]
    training_settings: Mapping[str, list[int]]

    def validation(self, replies: Replies) -> dict[str, Any]:
        """Return the figures on the clients' validation splits, from replies of any kind."""
        return self._client_metrics(replies, "validation")

    def ask(
        self,
        arrays: ArrayRecord,
        splits: str,
        round_number: int,
        own_rounds: Mapping[str, int] | None = None,
    ) -> Replies:
        """Let every client evaluate a round's model on some splits, named with commas.

        Args:
            own_rounds: the rounds of clients of which another one is judged, by name.

        Raises:
            TooFewReplies: too few clients replied.
        """
        config = self.task.config
        settings: dict[str, Any] = {**self.settings, "splits": splits, "round": round_number}
        if METHODS[config.strategy].tuning_epochs is not None:
            settings |= self.training_settings
        own = {name: {"round": number} for name, number in (own_rounds or {}).items()}
        messages = self.strategy.evaluation_messages(arrays, settings, own)
        replies = self.grid.send_and_receive(messages, timeout=config.longest_round)
        return self.strategy.read_evaluation(replies)

    def conclude(self, exchange: Exchange, last: ArrayRecord, progress: Progress) -> None:
        """Evaluate the last model, the best one and the average, and write metrics and predictions.

        The best is the last one that clients hear of: sites keep it, and the predictions for it.
        """
        config, folder = self.task.config, self.folder
        method = METHODS[config.strategy]
        clients, samples = self.strategy.clients.values(), config.samples_clients
        sent = exchange.to_evaluate(last)
        # Otherwise the shared model has arrays that nobody trained, and nobody would use it.
        beside = method.has_own_models and not exchange.num_local
        tests = f"test,{SHARED_TEST}" if beside else "test"
        splits = f"validation,{tests}"
        ema, ema_histograms = self._judge_average(exchange, progress, splits)
        found = self.ask(sent, splits, progress.round)
        if "validation" not in progress.records[-1]:
            earlier = progress.best_round, progress.best_figure
            progress = progress.validated(self.validation(found), config.best_by)
            if config.asked_clients < config.clients:
                # All clients have validated; in a longer run the next round's sample does.
                progress = replace(progress, earlier=earlier)
            folder.save_progress(progress)
        last_figures = self._figures(found, exchange, sent, "last_")
        last_histograms = histograms_of(found, "test")
        sha256 = weights_sha256(exchange.evaluated(sent))
        best_round = progress.best_round or progress.round
        own = own_best(config, folder)
        own_rounds = {} if own is None else own.rounds
        if {best_round, *own_rounds.values()} != {progress.round}:
            sent.clear()  # freed before the best one is evaluated
            sent = exchange.pack(folder.checkpoint.weights(best_round))
            found = self.ask(sent, splits, best_round, own_rounds)
        calibration = self._calibration(found, exchange)
        best_figures = self._figures(found, exchange, sent, calibration=calibration)
        folder.write_histograms(
            {
                "client_test": histograms_of(found, "test"),
                "last_client_test": last_histograms,
                "validation": histograms_of(found, "validation", _OF_VALIDATION),
                **ema_histograms,
            }
        )
        validation = progress.records[best_round - 1]["validation"]["pooled"]
        if own_rounds:
            validation = self.validation(found)["pooled"]
        test_data = self.test_sets.get("global_test")
        if config.client_heads and test_data is not None and shares_features(exchange):
            network = self.task.restore(exchange.evaluated(sent))
            best_figures["client_heads"] = judge_client_heads(
                self.grid, self.strategy, sent, network, config, test_data, self.settings
            )
        folder.write_metrics(
            {
                **best_figures,
                "calibration": calibration.to_block(),
                "validation": validation,
                "last": last_figures,
                **ema,
                "best_by": config.best_by,
                "best_round": best_round,
                **({"best_rounds": own_rounds} if own_rounds else {}),
                "participation": participation(folder.each_round(), clients),
                **({"sampled": sampled(folder.each_round(), clients)} if samples else {}),
                "rounds": progress.round,
                "weights_sha256": sha256,
                **({"local_arrays": exchange.num_local} if exchange.num_local else {}),
            }
        )

    def _judge_average(
        self, exchange: Exchange, progress: Progress, splits: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the moving average's entries of the metrics and of the histograms, if any."""
        if not self.task.config.ema_decay:
            return {}, {}
        sent = exchange.pack(self.folder.checkpoint.average(progress.round))
        found = self.ask(sent, splits, progress.round)
        calibration = self._calibration(found, exchange)
        block = {
            **self._figures(found, exchange, sent, "ema_", calibration),
            "calibration": calibration.to_block(),
            "validation": self.validation(found)["pooled"],
            "weights_sha256": weights_sha256(exchange.evaluated(sent)),
        }
        histograms = {
            "ema_client_test": histograms_of(found, "test"),
            "ema_validation": histograms_of(found, "validation", _OF_VALIDATION),
        }
        return {"ema": block}, histograms

    def _calibration(self, found: Replies, exchange: Exchange) -> Calibration:
        own = bool(exchange.num_local or METHODS[self.task.config.strategy].own_half)
        num_classes, coverage = self.task.num_classes, self.task.config.coverage
        return pooled_calibration(found, num_classes, coverage, own=own)

    def _client_metrics(
        self, replies: Replies, split: str, calibration: Calibration | None = None
    ) -> dict[str, Any]:
        best_by = self.task.config.best_by
        return client_metrics(replies, split, self.task.num_classes, best_by, calibration)

    def _figures(
        self,
        found: Replies,
        exchange: Exchange,
        sent: ArrayRecord,
        prefix: str = "",
        calibration: Calibration | None = None,
    ) -> dict[str, Any]:
        # A calibration is of the models that clients validate, and says nothing of others: what is
        # fine-tuned is only tested, what is the clients' own is not the shared one, and statistics
        # are recomputed for test sets only.
        if self.task.config.test_batchnorm == "recomputed":
            calibration = None
        of_tests = of_shared = calibration
        if METHODS[self.task.config.strategy].tuning_epochs is not None:
            of_tests = None
        if calibration is not None and calibration.own:
            of_shared = None
        tests = self._client_metrics(found, "test", of_tests)
        result = {"client_test": tests["pooled"], "clients": tests["clients"]}
        if any(f"{SHARED_TEST}-loss" in reply.metrics for reply in found.accepted):
            shared = self._client_metrics(found, SHARED_TEST, of_shared)
            result["shared"] = {"client_test": shared["pooled"], "clients": shared["clients"]}
        blocks = {}
        if not exchange.num_local:
            weights = exchange.evaluated(sent)
            blocks = {
                name: evaluate_on_test_set(
                    self.task, weights, images, self.folder, f"{prefix}{name}", of_shared
                )
                for name, images in self.test_sets.items()
            }
        if "left_out" in blocks:
            blocks["left_out"]["source"] = self.task.config.leave_out
        return {**blocks, **result}
