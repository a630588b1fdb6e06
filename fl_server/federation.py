"""One federated run, from the initial weights to the final metrics."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from data_partition.datasets import find_dataset
from fl_server.checking_grid import CheckingGrid
from fl_server.client_evaluation import client_metrics, evaluate_on_clients
from fl_server.client_heads import judge_client_heads
from fl_server.makespan import makespan
from fl_server.nodes import Gathered, check_bases
from fl_server.unpacking_grid import UnpackingGrid
from strategies.arrays import num_bytes, to_record
from strategies.averaging import Averaging
from strategies.expected_replies import Announced
from strategies.layout import LAYOUT, Layout
from strategies.methods import METHODS
from strategies.replies import Replies
from strategies.server_step import ServerStep
from training.checkpoint_writer import CheckpointWriter
from training.clip_text import ClipText
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.evaluation import evaluate_on_test_set
from training.network import base_sha256, build_network, restore_network, sent_part
from training.participation import participation
from training.run_folder import RunFolder
from training.split import GlobalTestSet
from training.weights import Weights, weights_sha256


class Federation:
    """Runs the missing rounds of a run folder, and evaluates the result.

    Memory: the global weights, the replies of a round and, during averaging, one more model. A
        checkpoint is written from the global weights while the clients continue to train.

    Args:
        grid: the clients.
        config: resolved.
        folder: the run folder, locked by this process.
        classes: the names of the classes.
        test_data: the global test set, if there is one.
        text: the text features for objective ``clip``, else None. They are sent with every message,
            so that no client builds a text tower.
        settings: settings in every message: ``experiment``, the config as clients need it.
    """

    def __init__(
        self,
        grid: Grid,
        config: ExperimentConfig,
        folder: RunFolder,
        classes: tuple[str, ...],
        test_data: GlobalTestSet | None,
        text: ClipText | None,
        settings: Mapping[str, str],
    ) -> None:
        self.grid = grid
        self.config = config
        self.folder = folder
        self.classes = classes
        self.test_data = test_data
        self.text = text
        self.progress = folder.checkpoint.progress()
        self._settings = dict(settings)
        self._layout = Layout({})
        self._step: ServerStep | None = None
        self._round_started = 0.0

    def run(self, gather: Callable[[], Gathered]) -> None:
        """Run the missing rounds and write the final metrics.

        Args:
            gather: waits for the clients, while the first weights are built.

        Raises:
            FederationError: a client has another base.
            RunFolderError: the base differs from that at the start of the run, or the server's
                state is missing or damaged.
            TooFewReplies: too few clients replied in a round.
        """
        clients, arrays = self._begin(gather)
        strategy = self._strategy(clients.names)
        self.folder.update_manifest(best_by=self.config.best_by)
        missing = self.config.rounds - self.progress.round
        if missing > 0:
            self.folder.update_manifest(phase="training")
            arrays = self._train(strategy, arrays, missing)
        self.folder.update_manifest(phase="judging")
        self._judge(strategy, arrays)

    def _begin(self, gather: Callable[[], Gathered]) -> tuple[Gathered, ArrayRecord]:
        with ThreadPoolExecutor(1) as executor:
            beginning = executor.submit(self._beginning)
            clients = gather()
            weights, base = beginning.result()
        self._layout = Layout.of(weights)
        arrays = self._layout.flatten(weights)
        num_classes = len(self.classes)
        announced = {
            node: Announced(
                num_classes,
                clients.sizes[name],
                by_patient=find_dataset(self.config.dataset).sliced,
            )
            for node, name in clients.names.items()
        }
        self.grid = CheckingGrid(self.grid, announced)
        if self.config.wire_format != "float32":
            self.grid = UnpackingGrid(self.grid, self.config.wire_format, self._layout)
        if base is not None:
            self.folder.keep_base(base)
            check_bases(clients.bases, base)
            self._settings["base"] = base  # a client that joins later compares it with its own
        return clients, arrays

    def _train(self, strategy: Averaging, first: ArrayRecord, num_rounds: int) -> ArrayRecord:
        self._round_started = time.perf_counter()
        with CheckpointWriter(self.folder) as writer:

            def finish(server_round: int, arrays: ArrayRecord) -> None:
                if server_round > 0:  # Flower calls once before the first round
                    first.clear()  # Flower's loop would hold it until the last
                    self._finish_round(strategy, writer, arrays)

            return strategy.start(
                self.grid,
                first,
                num_rounds=num_rounds,
                timeout=self.config.longest_round,
                train_config=ConfigRecord({**self._settings}),
                evaluate_fn=finish,
            ).arrays

    def _strategy(self, clients: Mapping[int, str]) -> Averaging:
        return Averaging(
            clients=clients,
            aggregation_weights=self.config.aggregation_weights,
            min_replies=self.config.min_replies,
            rounds_done=self.progress.round,
            constants=self._constants(),
            clip_updates=self.config.clip_updates,
            earlier=[
                f"round {record['round']}: {warning}"
                for record in self.progress.records
                for warning in record.get("warnings", ())
            ],
            step=self._step,
        )

    def _constants(self) -> dict[str, ArrayRecord | ConfigRecord]:
        constants: dict[str, ArrayRecord | ConfigRecord] = {LAYOUT: self._layout.record()}
        if self.text is not None:
            scale = np.array(self.text.logit_scale)
            text = to_record({"features": self.text.features, "logit-scale": scale})
            constants["text"] = text
        return constants

    def _beginning(self) -> tuple[Weights, str | None]:
        """Return the weights of the last finished round, or the initial ones, and the sha256 of
        their base; prepare the method's step at the server.
        """
        done, frozen = self.progress.round, self.config.trainable != "all"
        steps = METHODS[self.config.strategy].server_step is not None
        checkpoint, num_classes = self.folder.checkpoint, len(self.classes)
        if done and not frozen:
            weights = checkpoint.weights(done)
            if steps:
                network = restore_network(self.config, num_classes, weights, self.text)
                self._step = self._server_step(weights, network.trained())
            return weights, None
        network = build_network(self.config, num_classes, self.text)
        weights = checkpoint.weights(done) if done else sent_part(network)
        if steps:
            self._step = self._server_step(weights, network.trained())
        return weights, base_sha256(network) if frozen else None

    def _server_step(self, weights: Weights, trained: Iterable[str]) -> ServerStep:
        done, checkpoint = self.progress.round, self.folder.checkpoint
        method = METHODS[self.config.strategy]
        state = checkpoint.server_state(done) if done else None
        try:
            return ServerStep(method, self.config.to_flat(), weights, trained, state)
        except ValueError as error:
            raise RunFolderError(f"{checkpoint.server_state_path(done)}: {error}") from None

    def _finish_round(
        self, strategy: Averaging, writer: CheckpointWriter, arrays: ArrayRecord
    ) -> None:
        """Record a round that was just averaged, and start to write its checkpoint."""
        replies = strategy.replies
        if self.progress.round:
            # Before training, the clients validated the received model, that of the previous round.
            self._take_validation(client_metrics(replies, "validation", len(self.classes)))
        clients = {
            reply.client: {
                "examples": reply.metrics["num-examples"],
                "train_loss": reply.metrics["train-loss"],
                "optimizer_round": reply.metrics["optimizer-round"],
                "bytes_received": reply.num_bytes,
                "update": strategy.updates[reply.client],
                "seconds": {
                    key.removeprefix("seconds-"): value
                    for key, value in reply.metrics.items()
                    if key.startswith("seconds-")
                },
            }
            for reply in replies.accepted
        }
        examples = [int(str(reply.metrics["num-examples"])) for reply in replies.accepted]
        losses = [float(str(reply.metrics["train-loss"])) for reply in replies.accepted]
        seconds = dict(strategy.seconds)
        working = [float(str(r.metrics["seconds-message"])) for r in replies.accepted]
        busy = makespan(working, self._side_by_side())
        seconds["waiting"] = busy - max(working)
        seconds["transport"] = max(0.0, seconds["clients"] - busy)
        travelling = [arrays, *strategy.constants.values()]
        record = {
            "round": self.progress.round + 1,
            "train_loss": float(np.average(losses, weights=examples)),
            "examples": sum(examples),
            "bytes_sent": len(strategy.clients)
            * sum(num_bytes(r) for r in travelling if isinstance(r, ArrayRecord)),
            "bytes_received": sum(reply.num_bytes for reply in replies.accepted),
            "seconds": seconds,
            "clients": clients,
            "failures": replies.failures,
            "warnings": strategy.warnings,
        }
        self.progress = replace(
            self.progress,
            round=self.progress.round + 1,
            records=[*self.progress.records, record],
        )
        finished = time.perf_counter()
        seconds["round"] = finished - self._round_started
        self._round_started = finished
        state = None if strategy.step is None else strategy.step.state
        writer.write(self.progress, self._layout.views(arrays), state)

    def _side_by_side(self) -> int:
        """Return how many clients work at the same time: a simulation may have fewer processes."""
        planned = self.folder.manifest().get("resources", {})
        return int(planned.get("concurrency", self.config.clients))

    def _take_validation(self, validation: dict[str, Any]) -> None:
        self.progress = self.progress.validated(validation, self.config.best_by)

    def _judge(self, strategy: Averaging, last: ArrayRecord) -> None:
        """Evaluate the last model and the best one, and write the metrics and the predictions."""
        found = self._ask(strategy, last, "validation,test", self.progress.round)
        if "validation" not in self.progress.records[-1]:
            self._take_validation(client_metrics(found, "validation", len(self.classes)))
            self.folder.checkpoint.save(self.progress)
            self.folder.write_rounds(self.progress.records)
        last_figures = self._judge_one(found, self._layout.views(last), "last_global_test")
        sha256 = weights_sha256(self._layout.views(last))
        best_round = self.progress.best_round or self.progress.round
        if best_round == self.progress.round:
            best = last
        else:
            last.clear()  # freed before the best one is evaluated
            best = self._layout.flatten(self.folder.checkpoint.weights(best_round))
            found = self._ask(strategy, best, "test", best_round)
        best_weights = self._layout.views(best)
        best_figures = self._judge_one(found, best_weights, "global_test")
        if self.config.client_heads and self.test_data is not None:
            network = restore_network(self.config, len(self.classes), best_weights, self.text)
            best_figures["client_heads"] = judge_client_heads(
                self.grid, strategy, best, network, self.config, self.test_data, self._settings
            )
        self.folder.write_metrics(
            {
                **best_figures,
                "validation": self.progress.records[best_round - 1]["validation"]["pooled"],
                "last": last_figures,
                "best_by": self.config.best_by,
                "best_round": best_round,
                "participation": participation(self.progress.records, strategy.clients.values()),
                "rounds": self.progress.round,
                "weights_sha256": sha256,
            }
        )

    def _ask(
        self, strategy: Averaging, arrays: ArrayRecord, splits: str, round_number: int
    ) -> Replies:
        settings: dict[str, str | int] = {**self._settings, "splits": splits, "round": round_number}
        return evaluate_on_clients(self.grid, strategy, arrays, settings, self.config.longest_round)

    def _judge_one(self, found: Replies, weights: Weights, test_set: str) -> dict[str, Any]:
        tests = client_metrics(found, "test", len(self.classes))
        result = {"client_test": tests["pooled"], "clients": tests["clients"]}
        if self.test_data is None:
            return result
        network = restore_network(self.config, len(self.classes), weights, self.text)
        block = evaluate_on_test_set(self.config, network, self.test_data, self.folder, test_set)
        return {"global_test": block, **result}
