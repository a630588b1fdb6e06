"""The keys of an experiment's config, each with its range and its default.

Defaults are those of the study (docs/study.md) where it says any.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from data_partition.datasets import DATASETS, dataset_choice
from models.head_names import HEADS
from strategies import methods
from training.declared_keys import KEYS, fields_of
from training.losses import STUDY_LOSSES
from training.optimizers import STUDY_OPTIMIZERS
from training.schedules import SCHEDULES
from training.scores import ALL_SCORES

# How a client's images are split for testing, beside the splits that data sets declare.
LESION_CLEAN = "lesion-clean"
SPLITS = ("random", LESION_CLEAN)

# BraTS2019 has these four of every patient.
MODALITIES = ("flair", "t1", "t1ce", "t2")

# Flower keeps a message this long; a client that has not replied by then is lost.
MESSAGE_SECONDS = 12 * 3600


def _check_dataset(name: str) -> str:
    if name != "auto" and name not in DATASETS:
        raise PydanticCustomError("dataset", f"auto, {dataset_choice()}")
    return name


def _check_strategy(name: str) -> str:
    if name not in methods.OWN:  # a package's is only in the class with its keys
        *others, last = methods.METHODS
        raise PydanticCustomError("strategy", f"{', '.join(others)} or {last}")
    return name


def _check_schedule(name: str) -> str:
    if name not in SCHEDULES:
        *others, last = SCHEDULES
        raise PydanticCustomError("schedule", f"{', '.join(others)} or {last}")
    return name


def _check_best_by(name: str) -> str:
    if name != "loss" and name not in ALL_SCORES:
        raise PydanticCustomError("score", f"{', '.join(ALL_SCORES)} or loss")
    return name


if TYPE_CHECKING:
    DeclaredKeys = BaseModel
else:
    # The keys of methods, losses, optimizers and schedules; only these read their own, by name.
    DeclaredKeys = create_model("DeclaredKeys", **fields_of(KEYS))


class ConfigKeys(DeclaredKeys):
    """Every key with its range and default; docs/configuration.md describes them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    dataset: Annotated[str, AfterValidator(_check_dataset)] = "auto"
    objective: Literal["classifier", "clip"] = "classifier"
    backbone: str = "convnext_t"
    pretrained: bool = True
    weights_dir: str = ""
    init_from: str = ""
    init_weights: Literal["best", "last", "ema"] = "best"
    text_encoder: str = "ViT-L/14"
    loss: str = "auto"
    class_counts: Literal["own", "federation"] = "own"
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    augmentation: Literal["study", "light", "strong"] = "study"
    alignment: Literal["none", "mmd", "coral"] = "none"
    alignment_weight: float = Field(1.0, ge=0)
    reference_dir: str = ""
    trainable: Literal["all", "head", "adapter", "lora"] = "all"
    augmented_views: int = Field(0, ge=0, le=100)
    strategy: Annotated[str, AfterValidator(_check_strategy)] = methods.DEFAULT
    aggregation_weights: Literal["equal", "examples"] = "equal"
    min_replies: int = Field(0, ge=0)
    round_timeout: int = Field(0, ge=0, le=MESSAGE_SECONDS)
    clip_updates: float = Field(0.0, ge=0)
    wire_format: Literal["float32", "bfloat16", "int8"] = "float32"
    optimizer: str = "auto"
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    weight_decay: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    schedule: Annotated[str, AfterValidator(_check_schedule)] = "constant"
    warmup_rounds: int = Field(0, ge=0)
    client_optimizer: Literal["fresh", "persistent"] = "fresh"
    rounds: int = Field(50, ge=1)
    local_epochs: int = Field(1, ge=1)
    epochs: int = Field(50, ge=1)
    patience: int = Field(0, ge=0)
    ema_decay: float = Field(0.0, ge=0, lt=1)
    test_batchnorm: Literal["stored", "recomputed"] = "stored"
    best_by: Annotated[str, AfterValidator(_check_best_by)] = "avg"
    batch_size: int = Field(0, ge=0)
    accumulate_batches: int = Field(1, ge=1)
    heads: str = ",".join(HEADS)
    scaler: Literal["standard", "none"] = "standard"
    knn_neighbors: int = Field(5, ge=1)
    svm_c: float = Field(1.0, gt=0)
    svm_gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)] = "scale"
    forest_trees: int = Field(100, ge=1)
    tune_heads: bool = False
    coverage: float = Field(0.9, gt=0, lt=1)
    clients: int = Field(3, ge=1)
    clients_per_round: int = Field(0, ge=0)
    partition: Literal["iid", "dirichlet", "source"] = "iid"
    dirichlet_alpha: float = Field(0.5, gt=0)
    leave_out: str = ""
    split: str = "random"
    split_file: str = ""
    split_by: Literal["image", "lesion"] = "image"
    modalities: str = "t1ce,t2,flair"
    slices_per_patient: int = Field(8, ge=1, le=155)
    slice_choice: Literal["tumour", "brain", "all"] = "tumour"
    client_heads: bool = False
    data_dir: str = ""
    test_dir: str = ""
    allow_overlap: bool = False
    image_size: int = Field(224, ge=16, le=1024)
    input: Literal["study", "square", "shades-of-grey", "flamby"] = "study"
    seed: int = Field(0, ge=0, lt=2**31)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads_per_client: int = Field(0, ge=0)
    run_dir: str = ""
    cache_dir: str = ""

    @property
    def longest_round(self) -> float:
        """Seconds after which a round no longer waits for clients."""
        return float(self.round_timeout or MESSAGE_SECONDS)

    @property
    def asked_clients(self) -> int:
        """The number of clients that train in a round; one if it has the images of all."""
        if methods.METHODS[self.strategy].pooled:
            return 1
        return self.clients_per_round or self.clients

    @property
    def samples_clients(self) -> bool:
        """Whether a round has a sample of the clients only."""
        return self.asked_clients < self.clients

    @property
    def on_features(self) -> bool:
        """Whether training runs on stored features of images, since the trunk is frozen."""
        return self.trainable in ("head", "adapter")

    @property
    def chosen_loss(self) -> str:
        """The loss, of ``auto`` the study's."""
        return STUDY_LOSSES[self.objective] if self.loss == "auto" else self.loss

    @property
    def chosen_optimizer(self) -> str:
        """The optimizer, of ``auto`` the study's."""
        return STUDY_OPTIMIZERS[self.objective] if self.optimizer == "auto" else self.optimizer

    @property
    def keeps_aspect(self) -> bool:
        """Whether images are cropped to squares instead of squeezed into them."""
        return self.input in ("square", "flamby")

    @property
    def corrects_light(self) -> bool:
        """Whether images get the colours of grey light."""
        return self.input in ("shades-of-grey", "flamby")
