"""Centralized experiments: one network trained on all images in one process.

A centralized run's round is one epoch; the run folder, the checkpoint and the choice of the best
model are the same as in a federated run.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from models.backbones import Backbone
from training import optimizers
from training.batchnorm import note_without_batchnorm
from training.calibration import Calibration, calibrate
from training.checkpoint import Progress
from training.clip_text import ClipText
from training.config import ExperimentConfig
from training.early_stopping import ends_after, why_ended
from training.epoch import Evaluation, step_batches
from training.evaluation import evaluate_on_test_set, evaluation_block
from training.feature_splits import open_feature_splits
from training.moving_average import MovingAverage
from training.network import base_sha256, move_to_device, sent_part
from training.round_files import OptimizerStates
from training.run_folder import RunFolder
from training.schedules import learning_rate
from training.split import CentralData, GlobalTestSet, Split
from training.task import Task
from training.temperature import temperature_losses
from training.warm_start import note_on_start, start_from
from training.weights import Weights, weights_sha256

Watch = Callable[[int, int], None]
"""Called with (steps done, steps in the epoch)."""


@dataclass(eq=False)
class CentralizedRun:
    """Trains the epochs that are missing in a run folder, and evaluates the result.

    Memory: the model, its gradients and the optimizer's state; during the writing of a checkpoint,
    one more copy of the model and of that state.
    """

    config: ExperimentConfig
    folder: RunFolder
    data: CentralData
    test_data: GlobalTestSet | None
    text: ClipText | None
    watch: Watch = lambda done, total: None

    def __post_init__(self) -> None:
        self.task = Task(self.config, len(self.data.store.classes), self.text)
        self.progress: Progress = self.folder.checkpoint.progress()
        self._validation = self.data.split("validation")

    def run(self, after_epoch: Callable[[], None] = lambda: None) -> None:
        """Train the missing epochs and write the final figures.

        Raises:
            RunFolderError: the base differs from the one the run started with, or the weights of
                ``init-from`` do, or they do not fit.
            TrainingError: the loss or an output became NaN or infinite.
            WeightsError: the pretrained weights are missing or unusable.
        """
        if self.progress.round:
            self.folder.save_progress(self.progress)
        self.folder.update_manifest(phase="training", best_by=self.config.best_by, ended_early=None)
        torch.set_num_threads(self.config.threads_per_client)
        self._train(after_epoch)
        done, planned = self.progress.round, self.config.epochs
        why = why_ended(self.config, "epoch", done, planned) if done < planned else None
        self.folder.update_manifest(phase="judging", ended_early=why)
        self._judge()

    def _train(self, after_epoch: Callable[[], None]) -> None:
        """Train the missing epochs; the model and the optimizer's state are freed at the end."""
        model, splits = self._begin()
        optimizer = optimizers.build_optimizer(self.config.to_flat(), model.trained().values())
        states = OptimizerStates(self.folder.path / "optimizer", keep="persistent")
        states.load(model, optimizer, before=self.progress.round + 1)
        average = self.folder.moving_average()
        while self.progress.round < self.config.epochs:
            if ends_after(self.progress.records, self.config, validated_late=False) is not None:
                break
            epoch = self.progress.round + 1
            record = self._epoch(model, splits, optimizer, epoch)
            # Before the checkpoint: a kill between the two then leaves only an unused state.
            states.save(model, optimizer, epoch)
            self._save(record, sent_part(model), average)
            after_epoch()

    def _begin(self) -> tuple[Backbone, Mapping[str, Split]]:
        """Return the network to continue with, and its training and validation data."""
        splits = {name: self.data.split(name) for name in ("train", "validation")}
        model = self._model()
        notes = [*note_on_start(self.folder.manifest()), *note_without_batchnorm(self.config)]
        self.folder.update_manifest(notes=notes)
        if self.config.trainable != "all":
            base = base_sha256(model)
            self.folder.keep_base(base)
            self.task = replace(self.task, base=base)
            if self.config.on_features:
                splits = open_feature_splits(
                    self.config,
                    splits,
                    fingerprint=self.data.store.fingerprint,
                    client_index=0,
                    base=base,
                )
                model.trunk = nn.Identity()  # no longer needed: training runs on features
        self._validation = splits["validation"]
        return model, splits

    def _model(self) -> Backbone:
        if self.progress.round:
            return self.task.restore(self.folder.checkpoint.weights(self.progress.round))
        network = self.task.build()
        if start := start_from(network, self.config, self.data.store.classes):
            self.folder.keep_start(start)
        return move_to_device(network, self.config)

    def _epoch(
        self,
        model: Backbone,
        splits: Mapping[str, Split],
        optimizer: torch.optim.Optimizer,
        epoch: int,
    ) -> dict[str, Any]:
        started = time.perf_counter()
        train = splits["train"]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config.to_flat(), epoch, self.config.epochs)
        loss = self.task.train(
            model,
            train,
            optimizer,
            round_number=epoch,
            rounds=self.config.epochs,
            before_step=self._counting(len(train)),
        )
        trained = time.perf_counter()
        validation = self.task.evaluate(model, splits["validation"])
        finished = time.perf_counter()
        return {
            "round": epoch,
            "train_loss": loss,
            "examples": len(train),
            "seconds": {
                "training": trained - started,
                "validation": finished - trained,
                "round": finished - started,
            },
            "failures": {},
            "validation": {"pooled": evaluation_block(validation, self.config.best_by)},
        }

    def _counting(self, num_examples: int) -> Callable[[], None]:
        """Return a function to call at every step, which reports the epoch's progress."""
        sizes = self.config.batch_size, self.config.accumulate_batches
        total = len(list(step_batches(num_examples, *sizes)))
        steps = itertools.count()
        return lambda: self.watch(next(steps), total)

    def _save(
        self, record: dict[str, Any], weights: Weights, average: MovingAverage | None
    ) -> None:
        done = self.progress.finished(record)
        self.progress = done.validated(record["validation"], self.config.best_by)
        if average is not None:
            average.add(weights)
        self.folder.save_progress(
            self.progress, weights, average=None if average is None else average.weights
        )

    def _judge(self) -> None:
        last_round = self.progress.round
        best_round = self.progress.best_round or last_round
        last = self.folder.checkpoint.weights(last_round)
        last_figures = self._judge_one(last, "last_global_test")
        best = last if best_round == last_round else self.folder.checkpoint.weights(best_round)
        calibration = self._calibrate(self._validate(best))
        best_figures = self._judge_one(best, "global_test", calibration)
        self.folder.write_metrics(
            {
                **best_figures,
                "calibration": calibration.to_block(),
                "validation": self.progress.records[best_round - 1]["validation"]["pooled"],
                "last": last_figures,
                **self._judge_average(),
                "best_by": self.config.best_by,
                "best_round": best_round,
                "rounds": last_round,
                "weights_sha256": weights_sha256(last),
            }
        )

    def _judge_average(self) -> dict[str, Any]:
        if not self.config.ema_decay:
            return {}
        average = self.folder.checkpoint.average(self.progress.round)
        validation = self._validate(average)
        calibration = self._calibrate(validation)
        block = {
            **self._judge_one(average, "ema_global_test", calibration),
            "calibration": calibration.to_block(),
            "validation": evaluation_block(validation, self.config.best_by),
            "weights_sha256": weights_sha256(average),
        }
        return {"ema": block}

    def _validate(self, weights: Weights) -> Evaluation:
        """Evaluate a network on the validation images, or their features."""
        restore = self.task.restore_over_features if self.config.on_features else self.task.restore
        return self.task.evaluate(restore(weights), self._validation)

    def _calibrate(self, validation: Evaluation) -> Calibration:
        answers = validation.images
        return calibrate(
            answers.counts(exact=False).histograms,
            temperature_losses(answers),
            num_classes=self.task.num_classes,
            coverage=self.config.coverage,
        )

    def _judge_one(
        self, weights: Weights, test_set: str, calibration: Calibration | None = None
    ) -> dict[str, Any]:
        if self.test_data is None:
            return {}
        if self.config.test_batchnorm == "recomputed":
            calibration = None  # which is of a network with stored statistics
        figures = evaluate_on_test_set(
            self.task, weights, self.test_data, self.folder, test_set, calibration
        )
        return {"global_test": figures}
