"""What a network learns, and how: one object for centralized, federated and head runs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbones import Backbone, build_backbone, build_empty, over_features
from models.clip import ImageTextClassifier
from models.text_encoders import find_text_encoder
from models.trunk_facts import is_all_in_state
from training.alignment import aligned
from training.batchnorm import recomputed_batchnorm
from training.clip_text import ClipText
from training.config import DEFAULTS, ExperimentConfig
from training.epoch import Evaluation, evaluate, train_epoch
from training.errors import TrainingError
from training.gpu_memory import note_gpu_memory
from training.losses import DEFERRED, class_weights, loss_function
from training.network import as_tensors, check_base, load, move_to_device, of_base, preprocessing
from training.randomness import derive_seed, layer_randomness
from training.split import Split


@dataclass(frozen=True)
class Task:
    """All that building, training and evaluating a network depend on beside images and weights.

    Attributes:
        config: resolved.
        base: the sha256 that the network's base must have; None: not checked.
    """

    config: ExperimentConfig
    num_classes: int
    text: ClipText | None = None
    base: str | None = None

    def build(self) -> Backbone:
        """Return the network that a run starts from, on the CPU.

        Raises:
            WeightsError: the pretrained weights are missing or unusable.
        """
        config = self.config
        encoder = find_text_encoder(config.text_encoder)
        network = build_backbone(
            config.backbone,
            self._num_outputs,
            pretrained=config.pretrained,
            weights_dir=Path(config.weights_dir) if config.weights_dir else None,
            image_size=config.image_size,
            seed=config.seed,
            # A CLIP image tower with its own text tower starts from CLIP's alignment of the two.
            identity_head=self.text is not None and encoder.image_tower == config.backbone,
            trainable=config.trainable,
        )
        return self._with_text(network)

    def restore(self, weights: Mapping[str, NDArray], *, reuse: bool = False) -> Backbone:
        """Return the network with a copy of some weights, on the device; only one copy is made.

        Args:
            weights: the sent part, for which the base is built, or the whole state dict. They are
                not changed, so they may be views of a message's bytes.
            reuse: whether it may be the network that the last such call returned, if that is alike,
                with these weights; building one takes longer than a round of few images. Only if
                the whole network is trained: then all that training changes is in its weights.

        Raises:
            TrainingError: the weights are of another network, or the base has another sha256.
            WeightsError: the pretrained weights of the base are missing or unusable.
        """
        config, tensors = self.config, as_tensors(weights)
        if config.trainable == "all" or any(of_base(name) for name in weights):
            wanted = (config.backbone, self._num_outputs, config.image_size, config.trainable)
            kept = _kept_network(*wanted, config.device) if reuse else None
            network = _empty_network(*wanted) if kept is None else kept
            network.zero_grad()
            load(network, tensors, config)
            return move_to_device(self._with_text(network), config)
        network = self.build()
        check_base(network, config, self.base)
        load(network, {**network.base(), **tensors}, config)
        return move_to_device(network, config)

    def restore_over_features(self, weights: Mapping[str, NDArray]) -> Backbone:
        """Return the network without its trunk, for features instead of images, on the device.

        Args:
            weights: the sent part, under ``trainable`` ``head`` or ``adapter``.

        Raises:
            TrainingError: the weights are of another network.
        """
        config = self.config
        network = over_features(config.backbone, self._num_outputs, trainable=config.trainable)
        load(network, as_tensors(weights), config)
        return move_to_device(self._with_text(network), config)

    def train(
        self,
        network: Backbone,
        split: Split,
        optimizer: torch.optim.Optimizer,
        *,
        round_number: int,
        rounds: int,
        client_index: int = 0,
        epochs: int = 1,
        class_counts: Sequence[int] | None = None,
        before_step: Callable[[], None] | None = None,
        reference: Split | None = None,
    ) -> float:
        """Train a network, which is on its device and stays there; return the mean training loss.

        The order, the augmentation and the layers' randomness depend on the seed, the round and
        the client only.

        Args:
            split: at least two images, or their features.
            optimizer: of the network's trained parameters.
            round_number: the round, or the epoch of a centralized run, ≥ 1.
            rounds: of the whole run.
            client_index: the client's, ≥ 0.
            class_counts: number of training images of each class, for the loss; None: the split's.
            before_step: called between ``backward`` and every step of the optimizer.
            reference: the images of ``reference-dir``, or their features, for ``alignment``.

        Raises:
            TrainingError: fewer than two images, impossible class counts, or the loss became NaN or
                infinite.
        """
        config = self.config

        def seed(purpose: str) -> int:
            return derive_seed(
                config.seed, round_number=round_number, client_index=client_index, purpose=purpose
            )

        counts = split.class_counts(self.num_classes)
        if class_counts is not None:
            given = np.array(class_counts, dtype=np.int64)
            if given.shape != counts.shape or (given < counts).any():
                raise TrainingError(
                    f"class-counts: the federation's, {list(class_counts)}, are fewer than the "
                    f"client's own, {counts.tolist()}"
                )
            counts = given
        late = round_number > DEFERRED * rounds
        loss = loss_function(config.to_flat(), counts, late=late)
        generator = torch.Generator().manual_seed(seed("batches"))
        with (
            self._alignment(network, reference, seed("reference")) as penalty,
            layer_randomness(seed("layers"), torch.device(config.device)),
        ):
            losses = [
                train_epoch(
                    network,
                    split,
                    optimizer,
                    batch_size=config.batch_size,
                    preprocessing=preprocessing(config, split),
                    generator=generator,
                    precision=config.precision,
                    loss_function=loss,
                    sampler=config.sampler,
                    before_step=before_step,
                    penalty=penalty,
                    accumulate_batches=config.accumulate_batches,
                    class_weights=class_weights(config.to_flat(), counts, late=late),
                )
                for _ in range(epochs)
            ]
        note_gpu_memory(config.device)
        return float(np.mean(losses))

    def _alignment(
        self, network: Backbone, reference: Split | None, seed: int
    ) -> AbstractContextManager[Callable[[], Tensor] | None]:
        config = self.config
        if config.alignment == "none" or not config.alignment_weight:
            return nullcontext()
        assert reference is not None  # the config's check asks for its folder
        return aligned(
            network,
            reference,
            kind=config.alignment,
            weight=config.alignment_weight,
            batch_size=config.batch_size,
            inputs=preprocessing(config, reference),
            generator=torch.Generator().manual_seed(seed),
        )

    def evaluate(self, network: nn.Module, split: Split) -> Evaluation:
        """Evaluate a network with the config's batch size, preprocessing and precision.

        Raises:
            TrainingError: an output is NaN or infinite.
        """
        found = evaluate(
            network,
            split,
            num_classes=self.num_classes,
            batch_size=self.config.batch_size,
            preprocessing=preprocessing(self.config, split),
            precision=self.config.precision,
        )
        note_gpu_memory(self.config.device)
        return found

    def judge(self, network: nn.Module, split: Split) -> Evaluation:
        """Evaluate a network on a test set, with BatchNorm's statistics as ``test-batchnorm`` says.

        Raises:
            TrainingError: an output is NaN or infinite.
        """
        if self.config.test_batchnorm == "stored":
            return self.evaluate(network, split)
        with recomputed_batchnorm(
            network,
            split,
            batch_size=self.config.batch_size,
            preprocessing=preprocessing(self.config, split),
            seed=self.config.seed,
            precision=self.config.precision,
        ):
            return self.evaluate(network, split)

    @property
    def _num_outputs(self) -> int:
        return self.num_classes if self.text is None else self.text.features.shape[1]

    def _with_text(self, network: Backbone) -> Backbone:
        if self.text is None:
            return network
        # A copy, so that the network does not keep a message's bytes in memory.
        return ImageTextClassifier(network, torch.tensor(self.text.features), self.text.logit_scale)


def _empty_network(backbone: str, num_outputs: int, image_size: int, trainable: str) -> Backbone:
    return build_empty(backbone, num_outputs, image_size=image_size, trainable=trainable)


# A network is moved to its device in place.
@lru_cache(maxsize=1)
def _kept_network(
    backbone: str, num_outputs: int, image_size: int, trainable: str, _device: str
) -> Backbone | None:
    """Return a network that is kept; None if training may change more of it than its weights."""
    network = _empty_network(backbone, num_outputs, image_size, trainable)
    return network if trainable == "all" and is_all_in_state(network) else None


def build_base(config: ExperimentConfig, sha256: str | None = None) -> Backbone:
    """Return a network of which only the base is used, on the CPU; its head has no meaning.

    With ``trainable`` ``head`` and ``adapter``, the base is the whole trunk.

    Raises:
        TrainingError: the base has another sha256.
        WeightsError: the pretrained weights are missing or unusable.
    """
    trainable = "head" if config.trainable == "adapter" else config.trainable
    # Nothing is trained, so it is not aligned, and no method shares the head.
    changes = {"trainable": trainable, "alignment": "none", "reference_dir": ""}
    changes["strategy"] = str(DEFAULTS["strategy"])
    network = Task(config.replace(**changes), 1).build()
    check_base(network, config, sha256)
    return network
