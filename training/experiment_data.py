"""The data of one experiment: the image stores and who holds which images of them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition import ham10000, isic2018, recognition
from data_partition.brats2019 import load_brats2019
from data_partition.errors import DataError
from data_partition.image_store import ImageStore, open_store, store_side
from data_partition.image_table import ImageTable
from data_partition.overlap import find_overlap, refuse
from data_partition.partition import plan_partition
from data_partition.recognition import DataSet
from data_partition.splits import split_by_folders, split_patients, split_release, together
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.split import (
    CentralData,
    FederatedData,
    GlobalTestSet,
    TrainingImages,
    some_of,
)

Progress = Callable[[int, int], None]


def cache_dir(config: ExperimentConfig) -> Path:
    """Return the cache folder: ``cache-dir``, else the user's own cache."""
    if config.cache_dir:
        return Path(config.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedskin"


@dataclass(frozen=True)
class DataFacts:
    """What tells the data of one experiment from those of another.

    Attributes:
        dataset: ``ham10000`` or ``brats2019``.
        fingerprint: of the training release; see ``data_partition.image_store.ImageStore``.
        test_fingerprint: of the global test set, None where there is none.
        classes: class names in the order of the network's outputs.
    """

    dataset: str
    fingerprint: str
    test_fingerprint: str | None
    classes: tuple[str, ...]


def recognise(config: ExperimentConfig) -> DataSet:
    """Return the data set of a config: ``dataset``, or with ``auto`` what ``data-dir`` holds.

    Raises:
        ConfigError: no data folder is set, or a test folder beside BraTS2019.
        DataError: with ``auto``, no such folder, or not one data set in it.
    """
    if not config.data_dir:
        raise ConfigError("data-dir = '': name the folder of the images")
    found = config.dataset
    if found == "auto":
        found = recognition.recognise(Path(config.data_dir))
    if found == "brats2019" and config.test_dir:
        raise ConfigError(
            f"test-dir = {config.test_dir!r}: BraTS2019's test patients are in data-dir; leave "
            "test-dir empty"
        )
    return found


def data_facts(config: ExperimentConfig, progress: Progress | None = None) -> DataFacts:
    """Return the facts of a config's data; arguments and errors as of `open_federated_data`."""
    store = open_training(config, progress)
    test_data = open_test_data(config, progress)
    return DataFacts(
        dataset=recognise(config),
        fingerprint=store.fingerprint,
        test_fingerprint=test_data.fingerprint if test_data else None,
        classes=store.classes,
    )


def open_federated_data(
    config: ExperimentConfig, progress: Progress | None = None
) -> FederatedData:
    """Open the training release of a config and cut it among its clients.

    The image store is built the first time; later calls, of every process, map it into memory.

    Args:
        config: names the data folder, the partition and the seed.
        progress: called with (images done, images in all) while a store is built.

    Raises:
        ConfigError: no data folder is set, or a test folder beside BraTS2019.
        DataError: the folder cannot be used, or not cut as asked.
    """
    store = open_training(config, progress)
    plan = deal(config, store)
    shares = plan[["image_id", "client", "split"]]
    rows = store.rows.drop(columns="split", errors="ignore")
    merged = rows.merge(shares, on="image_id", how="left", validate="one_to_one")
    return FederatedData(store, merged)


def open_central_data(config: ExperimentConfig, progress: Progress | None = None) -> CentralData:
    """Open the training release of a config whole, cut into training and validation.

    HAM10000: 80/20, ``split-by`` honoured, or the folders where there is one for validation.
    BraTS2019: the 7 and the 1 of 7:1:2, by patient, or the folders ``train`` and ``valid``.
    Arguments as of `open_federated_data`.

    Raises:
        ConfigError: no data folder is set, or a test folder beside BraTS2019.
        DataError: the folder cannot be used, or nothing is left for training or validation.
    """
    store = open_training(config, progress)
    return CentralData(store, cut(config, store))


def deal(config: ExperimentConfig, data: ImageStore | ImageTable) -> pd.DataFrame:
    """Deal the images of a store, or of a table, out to clients; see `plan_partition`.

    Raises:
        DataError: they cannot be dealt as asked.
    """
    return plan_partition(
        data.rows,
        partition=config.partition,
        clients=config.clients,
        dirichlet_alpha=config.dirichlet_alpha,
        split_by=config.split_by,
        seed=config.seed,
        grouped_by=data.grouped_by,
    )


def cut(config: ExperimentConfig, data: ImageStore | ImageTable) -> NDArray[np.str_]:
    """Return what each image of a store, or of a table, is for where all are in one place.

    Raises:
        DataError: nothing is left for training or validation.
    """
    rows = data.rows
    if data.grouped_by == "patient":
        names = split_patients(rows, seed=config.seed)
    elif "split" in rows:
        names = split_by_folders(rows, split_by=config.split_by)
    else:
        names = split_release(
            rows["image_id"].tolist(),
            together(rows),
            seed=config.seed,
            split_by=config.split_by,
        )
    for name in ("train", "validation"):
        if name not in names:
            raise DataError(
                f"{config.data_dir} leaves no image for {name}; add images, or the folder {name} "
                "where the data come split"
            )
    return names


def open_test_data(
    config: ExperimentConfig, progress: Progress | None = None
) -> GlobalTestSet | None:
    """Open the global test set of a config; None where there is none.

    HAM10000: the challenge's test set, in ``test-dir`` or beside the training set. BraTS2019: the
    2 of 7:1:2, by patient, or the folder ``test``: the same for every experiment of a seed.

    Its images are looked for among all others of the training release, whatever those are for:
    also validation images choose the best model.

    Raises:
        ConfigError: no data folder is set, or a test folder beside BraTS2019.
        DataError: ``test-dir`` is set and holds no test set, the set cannot be used, or some of
            its images are also in training and the config does not allow it.
    """
    if recognise(config) == "brats2019":
        store = open_training(config, progress)
        is_test = split_patients(store.rows, seed=config.seed) == "test"
        split, training = some_of(store, is_test), store.rows[~is_test]
        if not len(split):
            return None
        rows = store.rows.iloc[split.indices].reset_index(drop=True)
        found = GlobalTestSet(split, rows, store.classes, store.fingerprint, {})
    else:
        table = test_table(config)
        if table is None:
            return None
        training = open_training(config, progress).rows
        found = GlobalTestSet.whole(open_table(config, table, progress))
    overlap = find_overlap(training, found.rows)
    if not config.allow_overlap:
        refuse(overlap)
    return replace(found, overlap=overlap)


def training_images(config: ExperimentConfig, *, federated: bool) -> TrainingImages:
    """Open the images that a run's network learnt from: of a federated run all clients'."""
    if federated:
        shared = open_federated_data(config)
        store, chosen = shared.store, (shared.plan["split"] == "train").to_numpy()
    else:
        data = open_central_data(config)
        store, chosen = data.store, data.split_names == "train"
    split = some_of(store, chosen)
    rows = store.rows.iloc[split.indices].reset_index(drop=True)
    return TrainingImages(split, rows, store.fingerprint, store.classes)


def training_table(
    config: ExperimentConfig, *, tests_in: Sequence[Path] | None = None
) -> ImageTable:
    """Read the tables of a config's training release; nothing is decoded.

    Args:
        config: names the data folder.
        tests_in: where the test images are that are used, see `ham10000.load_training`; None: as
            the config says.

    Raises:
        ConfigError: no data folder is set, or a test folder beside BraTS2019.
        DataError: the folder cannot be used.
    """
    data_dir = Path(config.data_dir)
    if recognise(config) == "ham10000":
        if tests_in is None and config.test_dir:
            tests_in = [Path(config.test_dir)]
        return ham10000.load_training(data_dir, tests_in=tests_in)
    first, second, third = config.modalities.split(",")
    return load_brats2019(
        data_dir,
        modalities=(first, second, third),
        slices_per_patient=config.slices_per_patient,
        slice_choice=config.slice_choice,
    )


def test_table(config: ExperimentConfig) -> ImageTable | None:
    """Read the tables of a config's test set of HAM10000; None where there is none.

    Raises:
        DataError: ``test-dir`` is set and holds no test set, or the set cannot be used.
    """
    test_dir = Path(config.test_dir) if config.test_dir else None
    return isic2018.load_test(Path(config.data_dir), test_dir)


def open_training(
    config: ExperimentConfig,
    progress: Progress | None = None,
    *,
    tests_in: Sequence[Path] | None = None,
) -> ImageStore:
    """Open the store of a config's training release.

    Arguments as of `open_federated_data` and `training_table`.

    Raises:
        ConfigError: no data folder is set, or a test folder beside BraTS2019.
        DataError: the folder cannot be used.
    """
    return open_table(config, training_table(config, tests_in=tests_in), progress)


def open_table(
    config: ExperimentConfig, table: ImageTable, progress: Progress | None = None
) -> ImageStore:
    """Open the store of some images, at the size and in the cache that a config names.

    Raises:
        DataError: the images cannot be used.
    """
    side = store_side(config.image_size)
    return open_store(table, side=side, cache_dir=cache_dir(config), progress=progress)
