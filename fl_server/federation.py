"""One federated run, from the initial weights to the final metrics."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.common import log
from flwr.serverapp import Grid

from data_partition.datasets import find_dataset
from fl_server.judging import Judge, own_best, shares_features
from fl_server.nodes import Gathered, check_bases, summed_class_counts
from fl_server.reply_grids import CheckingGrid, UnpackingGrid
from fl_server.round_record import round_record
from models.backbones import build_on_meta
from strategies.arrays import to_record
from strategies.averaging import Averaging
from strategies.exchange import Exchange
from strategies.expected_replies import CLASS_COUNTS, Announced
from strategies.flower_mean import FlowerMean
from strategies.method import Method
from strategies.methods import METHODS
from training.batchnorm import note_without_batchnorm
from training.checkpoint import OwnBest
from training.checkpoint_writer import CheckpointWriter
from training.clip_text import ClipText
from training.config import ExperimentConfig
from training.early_stopping import ends_after, why_ended
from training.errors import RunFolderError
from training.network import base_sha256, sent_part
from training.randomness import sample_clients
from training.run_folder import RunFolder
from training.split import GlobalTestSet
from training.task import Task
from training.warm_start import note_on_start, start_from
from training.weights import Weights


def notes_on_method(config: ExperimentConfig, num_local: int) -> list[str]:
    """Return what of the run's method does not take effect here, or not as one may think.

    Args:
        num_local: how many arrays of the network stay at the clients.
    """
    method, notes = METHODS[config.strategy], []
    if method.local is not None and not num_local:
        notes.append(f"{method.title}: of {config.backbone} nothing stays at the clients")
    if num_local:
        notes.append(
            f"{method.title}: {num_local} arrays stay at the clients, so there is no one model to "
            "be judged on a test set of the server's; each client's own is, on its test images"
        )
    if method.absent and config.min_replies < config.clients:
        notes.append(
            f"{method.title}: with {config.min_replies} of {config.clients} replies enough, a "
            f"client that is absent {method.absent}"
        )
    return notes


class _EndsEarly(Exception):
    """Ends Flower's loop of rounds, which has no other way out before the last."""

    def __init__(self, arrays: ArrayRecord) -> None:
        self.arrays = arrays


class Federation:
    """Runs the missing rounds of a run folder, and evaluates the result.

    Memory: the global weights, the sum of the replies and one reply. A checkpoint is written from
        the global weights while the clients continue to train.

    Args:
        folder: the run folder, locked by this process.
        text: the text features for objective ``clip``, else None. They are sent with every message,
            so that no client builds a text tower.
        settings: settings in every message: ``experiment``, the config as clients need it.
        left_out: the images of the source that ``leave-out`` names, judged as a further test set.
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
        left_out: GlobalTestSet | None = None,
    ) -> None:
        self.grid = grid
        self.config = config
        self.folder = folder
        self.classes = classes
        named = {"global_test": test_data, "left_out": left_out}
        self.test_sets = {name: found for name, found in named.items() if found is not None}
        self.text = text
        self.task = Task(config, len(classes), text)
        self.progress = folder.checkpoint.progress()
        self._settings = dict(settings)
        self._start: dict[str, Any] | None = None  # of ``init-from``, until it is in the manifest
        self._of_training: dict[str, list[int]] = {}  # settings in training messages only
        self._own_best: OwnBest | None = None  # if each client has a best round of its own
        self._round_started = 0.0

    def run(self, gather: Callable[[], Gathered]) -> None:
        """Run the missing rounds and write the final metrics.

        Args:
            gather: waits for the clients, while the first weights are built.

        Raises:
            FederationError: a client has another base.
            RunFolderError: the base differs from that at the start of the run, or the weights of
                ``init-from`` do, or they do not fit, or the server's state is missing or damaged.
            TooFewReplies: too few clients replied in a round.
        """
        if self.progress.round < self.config.rounds:
            # An earlier start may have ended while it judged what was then to be the last round.
            self.progress = self.progress.reopened()
        if self.progress.round:
            self.folder.save_progress(self.progress)
        clients, exchange = self._begin(gather)
        notes = note_on_start(self.folder.manifest())
        notes += notes_on_method(self.config, exchange.num_local)
        if self.config.client_heads and not shares_features(exchange):
            notes.append("client-heads: the clients share no features, so no heads are fitted")
        notes += note_without_batchnorm(self.config)
        for note in notes:
            log(WARNING, note)
        self.folder.update_manifest(notes=notes)
        self._own_best = own_best(self.config, self.folder)
        judge = Judge(
            grid=self.grid,
            strategy=self._strategy(clients, exchange),
            task=self.task,
            folder=self.folder,
            test_sets=self.test_sets,
            settings=self._settings,
            training_settings=self._of_training,
        )
        self.folder.update_manifest(best_by=self.config.best_by)
        missing = self.config.rounds - self.progress.round
        last = exchange.first
        if missing > 0 and not self._ends():
            self.folder.update_manifest(phase="training", ended_early=None)
            last = self._train(judge, exchange, missing)
        done, planned = self.progress.round, self.config.rounds
        why = why_ended(self.config, "round", done, planned) if done < planned else None
        self.folder.update_manifest(phase="judging", ended_early=why)
        judge.conclude(exchange, last, self.progress)

    def _begin(self, gather: Callable[[], Gathered]) -> tuple[Gathered, Exchange]:
        with ThreadPoolExecutor(1) as executor:
            beginning = executor.submit(self._beginning)
            clients = gather()
            exchange, base = beginning.result()
        if self._start is not None:
            self.folder.keep_start(self._start)
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
            self.grid = UnpackingGrid(self.grid, self.config.wire_format, exchange.train_layout)
        pooled = METHODS[self.config.strategy].pooled  # its one client has the counts of all
        if self.config.class_counts == "federation" and not pooled:
            # Those of the first start, so that a resumed run without all sites goes on the same.
            total = self.folder.manifest().get("class_counts")
            if total is None:
                total = summed_class_counts(clients, num_classes)
                self.folder.update_manifest(class_counts=total)
            self._of_training[CLASS_COUNTS] = total
        if base is not None:
            self.folder.keep_base(base)
            check_bases(clients.present, base)
            self._settings["base"] = base  # a client that joins later compares it with its own
            self.task = replace(self.task, base=base)
        return clients, exchange

    def _train(self, judge: Judge, exchange: Exchange, num_rounds: int) -> ArrayRecord:
        self._round_started = time.perf_counter()
        with CheckpointWriter(self.folder, self.folder.moving_average()) as writer:

            def finish(server_round: int, arrays: ArrayRecord) -> None:
                if server_round > 0:  # Flower calls once before the first round
                    exchange.first.clear()  # Flower's loop would hold it until the last
                    self._finish_round(judge, exchange, writer, arrays)
                    if self.progress.round < self.config.rounds and self._ends():
                        raise _EndsEarly(arrays)

            try:
                return judge.strategy.start(
                    self.grid,
                    exchange.first,
                    num_rounds=num_rounds,
                    timeout=self.config.longest_round,
                    train_config=ConfigRecord({**self._settings, **self._of_training}),
                    evaluate_fn=finish,
                ).arrays
            except _EndsEarly as ending:
                return ending.arrays

    def _ends(self) -> bool:
        late = not METHODS[self.config.strategy].pooled
        return ends_after(self.progress.records, self.config, validated_late=late) is not None

    def _strategy(self, clients: Gathered, exchange: Exchange) -> Averaging:
        of_flower = METHODS[self.config.strategy].flower
        flower = of_flower(self.config.to_flat()) if of_flower else None
        constants = exchange.constants()
        if self.text is not None:
            scale = np.array(self.text.logit_scale)
            text = {"features": self.text.features, "logit-scale": scale}
            constants["text"] = to_record(text)
        return Averaging(
            clients=clients.names,
            aggregation_weights=self.config.aggregation_weights,
            min_replies=self.config.min_replies,
            sample=self._sample if self.config.samples_clients else None,
            rounds_done=self.progress.round,
            constants=constants,
            clip_updates=self.config.clip_updates,
            earlier=[
                f"round {record['round']}: {warning}"
                for record in self.progress.records
                for warning in record.get("warnings", ())
            ],
            step=exchange.step,
            train_layout=exchange.train_layout,
            examples={name: sizes["train"] for name, sizes in clients.sizes.items()},
            counted={
                name: record["round"]
                for records in (self.folder.each_round(), self.progress.records[-1:])
                for record in records
                for name in record["clients"]
            },
            best_round=self.progress.best_round,
            own_best_rounds={} if self._own_best is None else self._own_best.rounds,
            flower=FlowerMean(flower) if flower else None,
        )

    def _sample(self, round_number: int) -> list[int]:
        if METHODS[self.config.strategy].pooled:
            return [0]
        return sample_clients(
            self.config.seed,
            round_number=round_number,
            clients=self.config.clients,
            size=self.config.asked_clients,
        )

    def _beginning(self) -> tuple[Exchange, str | None]:
        """Return what the first messages of this start hold, the weights of the last finished round
        or the initial ones, and the sha256 of their base.
        """
        done, frozen = self.progress.round, self.config.trainable != "all"
        method = METHODS[self.config.strategy]
        weights = self.folder.checkpoint.weights(done) if done else None
        if weights is not None and not frozen:
            trained: Iterable[str] = ()
            if method.server_step is not None:
                trained = build_on_meta(self.config.backbone, 1).trained()  # names alone
            return self._exchange(method, weights, trained), None
        network = self.task.build()
        if weights is None:
            self._start = start_from(network, self.config, self.classes)
        exchange = self._exchange(method, weights or sent_part(network), network.trained())
        return exchange, base_sha256(network) if frozen else None

    def _exchange(self, method: Method, weights: Weights, trained: Iterable[str]) -> Exchange:
        done, checkpoint = self.progress.round, self.folder.checkpoint
        keeps = done and method.server_init is not None
        state = checkpoint.server_state(done) if keeps else None
        try:
            return Exchange(method, self.config.to_flat(), weights, trained, state)
        except ValueError as error:
            path = checkpoint.path("server", done)
            raise RunFolderError(f"{path}: {error}") from None

    def _finish_round(
        self, judge: Judge, exchange: Exchange, writer: CheckpointWriter, arrays: ArrayRecord
    ) -> None:
        """Record a round that was just averaged, and start to write its checkpoint."""
        strategy = judge.strategy
        pooled = METHODS[self.config.strategy].pooled
        if self.progress.round and not pooled:
            # Before training, the clients validated the received model, that of the previous round.
            validation = judge.validation(strategy.replies)
            self._validated(validation)
        # A simulation may have fewer processes than clients.
        planned = self.folder.manifest().get("resources", {})
        side_by_side = int(planned.get("concurrency", self.config.asked_clients))
        record = round_record(self.progress.round + 1, strategy, arrays, side_by_side)
        self.progress = self.progress.finished(record)
        finished = time.perf_counter()
        record["seconds"]["round"] = finished - self._round_started
        self._round_started = finished
        if pooled:
            # Only one client trains, and with it, it alone would validate.
            validation = judge.validation(judge.ask(arrays, "validation", self.progress.round))
            self._validated(validation)
        strategy.best_round = self.progress.best_round
        writer.write(self.progress, exchange.weights(arrays), exchange.server_state(arrays))

    def _validated(self, validation: dict[str, Any]) -> None:
        self.progress = self.progress.validated(validation, self.config.best_by)
        if self._own_best is not None:
            self._own_best.add(self.progress.records[-1])
