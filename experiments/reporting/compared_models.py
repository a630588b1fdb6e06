"""What is compared on the same test images: the networks and heads of finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.judged_models import client_predictions, hospital_name
from experiments.reporting.run_results import answers_of
from experiments.reporting.sound_predictions import sound_predictions
from models.head_names import HEADS
from operation.text import printable
from training.config import ExperimentConfig
from training.data_description import synthetic_note
from training.errors import RunFolderError
from training.predictions import UNITS
from training.run_folder import RunFolder
from training.score_counts import Answers
from training.whole_files import of_this_version


@dataclass(frozen=True)
class Model:
    """A finished run's best network, or one of its heads, and what it says of the test images.

    Attributes:
        named: as the user names it.
        classes: as in the predictions.
        table: the predictions by ``image_id``, sorted; with ``client``, whose image it is, if they
            are those of the clients' own test images.
        answers: of the n images, in this order.
        curve: by round, ``train_loss`` and the pooled ``validation_avg``.
    """

    named: str
    folder: RunFolder
    config: ExperimentConfig
    manifest: Mapping[str, Any]
    classes: tuple[str, ...]
    table: pd.DataFrame
    answers: Answers
    curve: pd.DataFrame

    @property
    def fingerprint(self) -> str:
        """Identifies the global test set, or the images that the clients' are of."""
        data = self.manifest["data"]
        return str(data.get("fingerprint" if "client" in self.table else "test_fingerprint"))

    @property
    def synthetic_line(self) -> str | None:
        """What is said of synthetic images; None if there are none."""
        return synthetic_note(self.manifest)

    @property
    def unit(self) -> str:
        """``round``, or ``epoch`` of a centralized run."""
        return self.folder.length_key().removesuffix("s")


def read_named(named: str, *, clients: bool) -> Model:
    """Read the model that a user names: ``RUN_DIR``, or ``RUN_DIR:HEAD`` for a head.

    Args:
        clients: see `read_model`.

    Raises:
        RunFolderError: see `read_model`.
    """
    folder, _, head = named.rpartition(":")
    if head in HEADS and not Path(named).exists():
        return read_model(named, Path(folder), head, clients=clients)
    return read_model(named, Path(named), clients=clients)


def read_model(named: str, path: Path, head: str | None = None, *, clients: bool) -> Model:
    """Read a model's predictions of the global test set, or of the clients' own test images.

    Args:
        named: names it in errors and tables.
        path: of the run folder.
        head: of ``HEADS``; None: the network.
        clients: whether of the clients' own test images, each from its client's model.

    Raises:
        RunFolderError: it is no finished run with predictions, or they cannot be used.
    """
    folder = RunFolder(path)
    config = folder.config()
    folder.check_completed()
    manifest, classes = folder.manifest(), tuple(map(str, folder.data()["classes"]))
    folder.metrics()  # where this is damaged, the rest is not compared as if all were well
    with of_this_version(path / "rounds.jsonl"):
        curve = _curve(folder.rounds())
    if clients:
        table = _of_clients(named, folder, head, classes)
    else:
        test_set = f"heads-{head}" if head else "global_test"
        file = folder.predictions_path(test_set)
        if not file.is_file():
            raise RunFolderError(f"{named}: {_no_predictions(folder, config, head)}")
        table = sound_predictions(file, classes)
    table = table.sort_values("image_id", ignore_index=True)
    return Model(named, folder, config, manifest, classes, table, answers_of(table, classes), curve)


def _no_predictions(folder: RunFolder, config: ExperimentConfig, head: str | None) -> str:
    """Return why there are no predictions of the global test set, with the remedy."""
    if head:
        return f"has no predictions of {head}; fit it with fedskin heads"
    if number := folder.metrics().get("local_arrays"):
        why = (
            f": with strategy = {config.strategy} {number} arrays stay at the clients, and no one "
            "model was trained whole"
        )
    else:
        why = ""
    if folder.manifest().get("command") == "simulate":
        why += "; compare on the clients' own test images, with --clients"
    return f"has no predictions of a global test set{why}"


def _of_clients(
    named: str, folder: RunFolder, head: str | None, classes: Sequence[str]
) -> pd.DataFrame:
    """Return the predictions of all clients' own test images, with the column ``client``.

    Lesions and patients are a client's own, also if another client's have the same names.
    """
    if head:
        raise RunFolderError(f"{named}: --clients: heads are judged on the global test set only")
    if folder.manifest().get("command") != "simulate":
        raise RunFolderError(
            f"{named}: --clients is for simulations; other runs have no predictions of clients' "
            "own test images here"
        )
    with of_this_version(folder.path / "metrics.json"):
        images = {name: int(block["n"]) for name, block in folder.metrics()["clients"].items()}
    tables = []
    for client, number in images.items():
        if not number:
            continue
        path = client_predictions(folder.path, client)
        table = sound_predictions(path, classes)
        if len(table) != number:
            raise RunFolderError(
                f"{path}: is of {len(table)} images, and metrics.json counts {number}; make the "
                "run again"
            )
        for column in UNITS.keys() & set(table):
            known = table[column].str.strip() != ""
            table[column] = table[column].where(~known, f"{client} " + table[column])
        tables.append(table.assign(client=hospital_name(client)))
    if not tables:
        raise RunFolderError(f"{named}: --clients: no client has test images")
    together = pd.concat(tables, ignore_index=True)
    if together["image_id"].duplicated().any():
        raise RunFolderError(f"{named}: --clients: an image is at two clients")
    # A client without any lesion that is known has no such column.
    return together.fillna(dict.fromkeys(UNITS.keys() & set(together), ""))


def _curve(rounds: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "train_loss": [record["train_loss"] for record in rounds],
            "validation_avg": [record["validation"]["pooled"].get("avg") for record in rounds],
        },
        index=pd.Index([record["round"] for record in rounds], name="round"),
        dtype=float,
    )


def check_same_images(models: Sequence[Model]) -> None:
    """Refuse models that were judged on other test images than the first.

    Raises:
        RunFolderError: naming the first one that was.
    """
    first, none = models[0], pd.Series()
    for other in models[1:]:
        if set(other.classes) != set(first.classes):
            raise RunFolderError(
                f"{other.named}: its classes are {printable(', '.join(other.classes))}, those of "
                f"{first.named} are {printable(', '.join(first.classes))}; compare runs with the "
                "same classes"
            )
        same = other.fingerprint == first.fingerprint and all(
            other.table.get(column, none).equals(first.table.get(column, none))
            for column in ("image_id", "label", "client")
        )
        if not same:
            remedy = "the same test images"
            if "client" in first.table:
                remedy = "the same clients, split and seed"
            raise RunFolderError(
                f"{other.named}: was judged on another test set ({_test_set(other)}) than "
                f"{first.named} ({_test_set(first)}); compare runs with {remedy}"
            )


def _test_set(model: Model) -> str:
    clients = ""
    if "client" in model.table:
        clients = f" at {model.table['client'].nunique()} clients"
    return (
        f"{len(model.table):,} images of {model.config.dataset}{clients}, "
        f"fingerprint {model.fingerprint[:12]}"
    )


def with_classes(model: Model, classes: Sequence[str]) -> Answers:
    """Return a model's answers with its classes in another order."""
    return model.answers if model.classes == classes else answers_of(model.table, classes)


def groups_of(models: Sequence[Model]) -> tuple[str, NDArray[np.int64] | None]:
    """Return what the test images are of, ``patient``, ``lesion`` or ``image``, and its numbers.

    The first model that knows patients or lesions tells them for all. An image without a lesion is
    one of its own.

    Args:
        models: on the same images.

    Returns:
        The word; and (n,) the number of each image's lesion or patient, None if nobody knows them.
    """
    for column, unit in UNITS.items():
        for model in models:
            if column not in model.table:
                continue
            named = model.table[column].astype(str)
            known = named.str.strip() != ""
            if known.any():
                # With a prefix, so that no image is taken for a lesion of its name.
                keys = ("of " + named).where(known, "image " + model.table["image_id"])
                return unit, np.unique(keys, return_inverse=True)[1].astype(np.int64)
    return "image", None
