"""Combinations of the config's keys that cannot be run; the study is docs/study.md's."""

from collections.abc import Iterator

from data_partition.datasets import published_splits
from data_partition.errors import DataError
from models.errors import BackboneError
from models.head_names import HEADS
from models.registry import BACKBONES, check_without_library, known
from models.text_encoders import find_text_encoder
from operation.plugins import PlugInError
from operation.text import known_names
from strategies import methods
from strategies.method import Method
from training.config_keys import LESION_CLEAN, MODALITIES, SPLITS, ConfigKeys
from training.declared_keys import keys_of
from training.losses import LOSSES
from training.optimizers import OPTIMIZERS
from training.scores import ALL_SCORES

# The arrays of a network's head.
HEAD_NAMES = ("head.weight", "head.bias")


def faults_of(config: ConfigKeys) -> Iterator[str]:
    """Yield a line for each combination of keys that cannot be run, with the allowed values."""
    yield from _faults_of_network(config)
    yield from _faults_of_alignment(config)
    yield from _faults_of_clients(config)
    yield from _faults_of_split(config)
    yield from _faults_of_loss(config)
    try:
        if config.best_by != "loss":  # which is no score
            ALL_SCORES[config.best_by]
    except PlugInError as error:
        yield f"best-by = {config.best_by!r}: {error}"
    yield from _faults_of_optimizer(config)
    yield from _faults_of_method(config)
    yield from _other_faults(config)


def _faults_of_network(config: ConfigKeys) -> Iterator[str]:
    try:
        known(config.backbone)
    except BackboneError as error:
        yield f"backbone = {config.backbone!r}: {error}"
    else:
        try:
            check_without_library(config.backbone, config.image_size)
        except BackboneError as error:
            yield f"image-size = {config.image_size}: {error}"
    # What only the backbone's library knows is checked by `training.preparation`.
    spec = BACKBONES.get(config.backbone)
    if config.trainable == "lora" and spec is not None and not spec.has_linear_layers:
        yield no_lora(config.backbone)
    if config.augmented_views and not config.on_features:
        yield (
            f"augmented-views = {config.augmented_views}: allowed with trainable = head or "
            f"adapter only, whose clients keep features; trainable = {config.trainable!r}"
        )
    if config.test_batchnorm == "recomputed" and config.on_features:
        yield (
            f"test-batchnorm = 'recomputed': allowed with trainable = all or lora only, since "
            f"with trainable = {config.trainable!r} clients keep features, which the frozen "
            "network has computed with its stored statistics"
        )


def _faults_of_alignment(config: ConfigKeys) -> Iterator[str]:
    kind = config.alignment
    if kind == "none" and config.reference_dir:
        yield (
            f"reference-dir = {config.reference_dir!r}: allowed with alignment = mmd or coral only"
        )
    if kind != "none" and not config.reference_dir:
        yield (
            f"alignment = {kind!r}: name a folder of images that every client has as reference-dir"
        )
    if kind != "none" and config.trainable == "head":
        yield (
            f"alignment = {kind!r}: with trainable = 'head' nothing that is trained lies "
            "before the features, so it would change nothing; take trainable = adapter, lora "
            "or all"
        )


def _faults_of_clients(config: ConfigKeys) -> Iterator[str]:
    if config.clients_per_round > config.clients:
        yield (
            f"clients-per-round = {config.clients_per_round}: allowed are 0, which means all, "
            f"to {config.clients}, the number of clients"
        )
    elif config.min_replies > config.asked_clients:
        yield (
            f"min-replies = {config.min_replies}: allowed are 0 to {config.asked_clients}, "
            f"the number of clients{' of a round' if config.samples_clients else ''}"
        )
    if config.leave_out and config.partition != "source":
        yield (
            f"leave-out = {config.leave_out!r}: names a source, so it is allowed with partition "
            f"= source only; partition = {config.partition!r}"
        )


def _faults_of_split(config: ConfigKeys) -> Iterator[str]:
    if config.split in SPLITS and not config.split_file:
        return  # no data set is loaded
    try:
        published = published_splits(config.dataset)
    except DataError as error:
        yield str(error)
        return
    where = "" if config.dataset == "auto" else f" with dataset = {config.dataset}"
    if config.split not in (*SPLITS, *published):
        *others, last = (*published, *SPLITS)
        yield f"split = {config.split!r}: allowed is {', '.join(others)} or {last}{where}"
    elif not config.split_file:
        yield f"split = {config.split!r}: name its {published[config.split].file} as split-file"
    elif not published:
        yield f"split-file = {config.split_file!r}: there is no published split{where}"
    elif config.split == "random":
        allowed = " or ".join((*published, LESION_CLEAN))
        yield (
            f"split-file = {config.split_file!r}: allowed with split = {allowed} only; "
            "split = 'random'"
        )


def _faults_of_loss(config: ConfigKeys) -> Iterator[str]:
    loss = config.chosen_loss
    if loss not in LOSSES:
        yield f"loss = {loss!r}: no such loss; {known_names(loss, ('auto', *LOSSES))}"
        return
    row = LOSSES[loss]
    if config.objective not in row.objectives:
        yield f"loss = {loss!r}: allowed with objective = {' or '.join(row.objectives)} only"
    elif config.accumulate_batches > 1 and row.whole_batch:
        yield (
            f"accumulate-batches = {config.accumulate_batches}: with loss = {loss!r} allowed is "
            "1, since it compares the images of a batch with one another"
        )


def _faults_of_optimizer(config: ConfigKeys) -> Iterator[str]:
    optimizer = config.chosen_optimizer
    if optimizer not in OPTIMIZERS:
        known = known_names(optimizer, ("auto", *OPTIMIZERS))
        yield f"optimizer = {optimizer!r}: no such optimizer; {known}"
        return
    chosen = f"optimizer = {config.optimizer!r}"
    if optimizer != config.optimizer:
        chosen += f", which is {optimizer} here"
    values, read = config.model_dump(by_alias=True), OPTIMIZERS[optimizer].keys
    for key, said in keys_of("optimizer").items():
        if key not in read and not said.auto and values[key] != said.default:
            users = " or ".join(name for name, row in OPTIMIZERS.items() if key in row.keys)
            yield f"{key} = {values[key]}: allowed with optimizer = {users} only, but {chosen}"


def _faults_of_method(config: ConfigKeys) -> Iterator[str]:
    method, values = methods.METHODS[config.strategy], config.model_dump(by_alias=True)
    if method.sgd_only and (config.chosen_optimizer != "sgd" or values["momentum"]):
        yield (
            f"strategy = {config.strategy!r}: its formulas hold for SGD without momentum only; "
            "set optimizer = sgd and momentum = 0"
        )
    if method.pooled and config.clients_per_round:
        yield (
            f"clients-per-round = {config.clients_per_round}: with strategy = {config.strategy!r} "
            "one client trains, on the images of all; leave it out"
        )
    least = methods.replies_needed(config.strategy, values)
    if least > config.asked_clients:
        asked = "clients-per-round" if config.samples_clients else "clients"
        yield (
            f"{asked} = {config.asked_clients}: strategy = {config.strategy!r} with its keys needs "
            f"{least} replies in every round"
        )
    elif 0 < config.min_replies < least:
        yield (
            f"min-replies = {config.min_replies}: strategy = {config.strategy!r} with its keys "
            f"needs {least} replies in every round; allowed are 0 and {least} to "
            f"{config.asked_clients}"
        )
    if method.equal_weights and config.aggregation_weights != "equal":
        yield (
            f"aggregation-weights = {config.aggregation_weights!r}: strategy = "
            f"{config.strategy!r} counts every client once; set aggregation-weights = equal"
        )
    if config.ema_decay and all_stays(method):
        yield (
            f"ema-decay = {config.ema_decay}: with strategy = {config.strategy!r} nothing is "
            "shared, so there is no global model to average; leave it out"
        )
    if shares_nothing(config.strategy, config.trainable):
        yield (
            f"trainable = 'head': with strategy = {config.strategy!r} the head stays at the "
            "clients, so nothing would be shared"
        )


def _other_faults(config: ConfigKeys) -> Iterator[str]:
    if config.batch_size == 1:
        yield (
            "batch-size = 1: allowed are 0 (the study's) and 2 or more, since BatchNorm "
            "cannot train on one image"
        )
    try:
        find_text_encoder(config.text_encoder)
    except BackboneError as error:
        yield f"text-encoder = {config.text_encoder!r}: {error}"
    fitted = config.heads.split(",")
    if len(set(fitted)) != len(fitted) or not set(fitted) <= set(HEADS):
        yield (
            f"heads = {config.heads!r}: allowed are one or more of {', '.join(HEADS)}, each "
            "once, separated by commas"
        )
    named = config.modalities.split(",")
    if len(named) != 3 or len(set(named)) != 3 or not set(named) <= set(MODALITIES):
        yield (
            f"modalities = {config.modalities!r}: allowed are three of {', '.join(MODALITIES)}, "
            "separated by commas: the network's three channels"
        )
    if config.precision == "bfloat16" and config.device in ("cpu", "mps"):
        yield f"precision = 'bfloat16': needs device = cuda, but device = {config.device!r}"


def all_stays(method: Method) -> bool:
    """Return whether every array stays at its client, which so trains alone."""
    whole = {*HEAD_NAMES, "trunk"}
    return method.local_names(whole) == whole


def shares_nothing(strategy: str, trainable: str) -> bool:
    """Return whether all that is trained stays at the clients, though the method shares a part."""
    stays = methods.METHODS[strategy].local_names((*HEAD_NAMES, "trunk"))
    return trainable == "head" and stays == set(HEAD_NAMES)


def no_lora(backbone: str) -> str:
    """Return the error message for a backbone that has nothing that LoRA could update."""
    return (
        f"trainable = 'lora': {backbone} has no attention and no linear layers to update; allowed "
        "are all, head and adapter"
    )
