"""The data of one experiment: its image stores, and which images belong to which client.

Functions that read the data folder raise `ConfigError` if no data folder is set, or if a test
folder is set for a data set that has its own test patients; and `DataError` if the folder is
missing or unusable. The docstrings below name only further errors.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition import datasets, recognition
from data_partition.copies import find_overlap, refuse
from data_partition.dataset import DataSet, Reading
from data_partition.errors import DataError
from data_partition.image_reader import Photographs
from data_partition.image_store import ImageStore, ProgressCallback, open_store, store_side
from data_partition.image_table import ImageTable
from data_partition.isic2019_split import read_split, with_split
from data_partition.left_out import from_source, without_source
from data_partition.partition import plan_partition
from data_partition.splits import SplitBy, split_by_folders, split_patients, split_release, together
from training.array_store import kept
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.split import CentralData, FederatedData, GlobalTestSet, TrainingImages, select_images


def cache_dir(config: ExperimentConfig) -> Path:
    """Return the cache folder: ``cache-dir``, or the user's cache."""
    if config.cache_dir:
        return Path(config.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedskin"


@dataclass(frozen=True)
class DataFacts:
    """The identity of an experiment's data."""

    dataset: str  # its name
    fingerprint: str  # of the training release; see ``data_partition.image_store.ImageStore``
    test_fingerprint: str | None  # of the global test set; None if there is none
    classes: tuple[str, ...]  # class names in the order of the network's outputs


def recognise_dataset(config: ExperimentConfig) -> DataSet:
    """Return the data set of a config: ``dataset``, or with ``auto`` the one in ``data-dir``.

    Raises:
        DataError: with ``auto``, the folder does not hold exactly one data set.
    """
    if not config.data_dir:
        raise ConfigError("data-dir = '': name the folder of the images")
    if config.dataset == "auto":
        found = recognition.recognise(Path(config.data_dir))
    else:
        found = datasets.find_dataset(config.dataset)
    if found.load_test is None and config.test_dir:
        raise ConfigError(
            f"test-dir = {config.test_dir!r}: {found.title}'s test patients are in data-dir; leave "
            "test-dir empty"
        )
    return found


def dataset_of(config: ExperimentConfig) -> DataSet:
    """Return the data set of a config that may have a name for it, but no data folder."""
    return (
        recognise_dataset(config)
        if config.dataset == "auto"
        else datasets.find_dataset(config.dataset)
    )


def data_facts(config: ExperimentConfig, progress: ProgressCallback | None = None) -> DataFacts:
    """Return the facts of a config's data."""
    store = open_training(config, progress)
    test_data = open_test_data(config, progress)
    return DataFacts(
        dataset=recognise_dataset(config).name,
        fingerprint=_with_split_file(config, store.fingerprint),
        test_fingerprint=test_data.fingerprint if test_data else None,
        classes=store.classes,
    )


def open_federated_data(
    config: ExperimentConfig, progress: ProgressCallback | None = None
) -> FederatedData:
    """Open the training release of a config and partition it among the clients.

    The image store is built the first time; later calls, from any process, map it into memory.

    Raises:
        DataError: the images cannot be partitioned as the config says.
    """
    store = open_training(config, progress)
    plan = deal(config, store)
    store = replace(
        store,
        set_aside={**store.set_aside, **_at_no_client(config, store, plan)},
        fingerprint=_with_split_file(config, store.fingerprint),
        notices=(*store.notices, *_split_notices(config, plan)),
    )
    shares = plan[["image_id", "client", "split", "source"]]
    rows = store.rows.drop(columns=["split", "source"], errors="ignore")
    merged = rows.merge(shares, on="image_id", how="left", validate="one_to_one")
    return FederatedData(store, merged)


def _at_no_client(
    config: ExperimentConfig, store: ImageStore, plan: pd.DataFrame
) -> dict[str, tuple[str, ...]]:
    """Return the images that neither a client nor a test set has, by reason."""
    if store.sliced or not (config.split_file or config.leave_out):
        return {}
    held = store.rows["image_id"].isin(plan["image_id"]) | from_source(store.rows, config.leave_out)
    named = store.rows["image_id"].isin(units(config, store)[0]["image_id"])
    found = {
        "image that the split file does not name": store.rows["image_id"][~held & ~named],
        "image of a lesion that the source left out has, too": store.rows["image_id"][
            ~held & named
        ],
    }
    return {reason: tuple(ids) for reason, ids in found.items() if len(ids)}


def open_central_data(
    config: ExperimentConfig, progress: ProgressCallback | None = None
) -> CentralData:
    """Open the whole training release of a config, split into training and validation.

    80/20 with ``split-by``, or as the data set is already split. Slices: the 7 and the 1 of 7:1:2,
    by patient, or the folders ``train`` and ``valid``.

    Raises:
        DataError: no image is left for training or validation.
    """
    store = open_training(config, progress)
    return CentralData(store, cut(config, store))


def deal(config: ExperimentConfig, data: ImageStore | ImageTable) -> pd.DataFrame:
    """Partition the images of a store or a table among clients, see `plan_partition`.

    Those of the source that ``leave-out`` names belong to no client, nor, where lesions stay
    together, do others of the same lesions.

    Raises:
        DataError: they cannot be partitioned as the config says.
    """
    rows, split_by = units(config, data)
    return plan_partition(
        without_source(rows, config.leave_out, split_by="image" if data.sliced else split_by),
        partition=config.partition,
        clients=config.clients,
        dirichlet_alpha=config.dirichlet_alpha,
        split_by=split_by,
        seed=config.seed,
        grouped_by=data.grouped_by,
        sliced=data.sliced,
        sources=recognise_dataset(config).sources,
    )


def units(config: ExperimentConfig, data: ImageStore | ImageTable) -> tuple[pd.DataFrame, SplitBy]:
    """Return the rows of the images that are split, and what stays together.

    With ``split = flamby`` they have the column ``fold``. With ``split = lesion-clean`` lesions
    stay together, and of images without one those that look alike: column ``look``.

    Raises:
        DataError: the split file cannot be used, or the images are slices.
    """
    rows = data.rows
    if config.split == "random":
        return rows, config.split_by
    if data.sliced:
        raise DataError(f"split = {config.split}: slices are always split by patient; leave it out")
    if config.split_file:
        rows = with_split(rows, Path(config.split_file))
    if config.split == "flamby":
        return rows, config.split_by
    rows = rows.drop(columns="fold", errors="ignore")
    return rows.assign(look=_looks(config, data, rows)), "lesion"


def _with_split_file(config: ExperimentConfig, fingerprint: str) -> str:
    """Return the fingerprint of images, which also covers the split file if there is one."""
    if not config.split_file:
        return fingerprint
    rows = read_split(Path(config.split_file)).sort_index().to_csv()
    return hashlib.sha256(f"{fingerprint}\n{rows}".encode()).hexdigest()


def _looks(
    config: ExperimentConfig, data: ImageStore | ImageTable, rows: pd.DataFrame
) -> pd.Series:
    """Return for each image without a lesion the id of the first image that looks alike."""
    unknown = rows.index[rows["lesion_id"].isna()]
    looks = pd.Series(None, index=rows.index, dtype=object)
    if isinstance(data, ImageTable) or unknown.empty:  # a table is not decoded yet
        return looks

    def compute() -> dict[str, NDArray[np.int64]]:
        from data_partition.near_duplicates import near_groups  # SciPy takes long

        return {"first": near_groups(data.images, unknown.to_numpy())}

    chosen = "\n".join(rows["image_id"][unknown])
    made_of = f"{data.fingerprint} {config.input} {data.images.shape}\n{chosen}"
    key = hashlib.sha256(made_of.encode()).hexdigest()
    first = kept(cache_dir(config) / "looks" / f"{key[:32]}.safetensors", key, compute)["first"]
    looks[unknown] = rows["image_id"][unknown].to_numpy()[first]
    return looks


def _split_notices(config: ExperimentConfig, plan: pd.DataFrame) -> tuple[str, ...]:
    """Return what every table says about the clients' test images, if ``split`` is not random."""
    if config.split == "random":
        return ()
    # Validation images count, too: they choose the best model.
    trained = set(plan["lesion_id"][plan["split"] != "test"].dropna())
    tested = plan["lesion_id"][plan["split"] == "test"]
    if leaking := int(tested.isin(trained).sum()):
        return (
            f"split = {config.split}: {leaking:,} of the clients' {len(tested):,} test images show "
            "a lesion that is also in training, so these figures are too good",
        )
    unknown = plan["source"][plan["lesion_id"].isna()]
    if config.split == "lesion-clean" and len(unknown):
        named = ", ".join(map(str, sorted(set(unknown.dropna())))) or "unknown sources"
        return (
            f"split = lesion-clean: {len(unknown):,} images ({named}) have no lesion id; of these, "
            "images whose perceptual hashes are near count as one lesion",
        )
    return ()


def cut(config: ExperimentConfig, data: ImageStore | ImageTable) -> NDArray[np.str_]:
    """Return the split of each image of a store or a table, for centralized training.

    Raises:
        DataError: no image is left for training or for validation.
    """
    if config.split_file:
        raise ConfigError(
            f"split-file = {config.split_file!r}: allowed in federations only, since it divides "
            "clients' images"
        )
    if config.leave_out:
        raise ConfigError(
            f"leave-out = {config.leave_out!r}: allowed in federations only; to train one network "
            "on all other sources, use fedskin simulate with strategy = pooled"
        )
    rows, split_by = units(config, data)
    if data.sliced:
        names = split_patients(rows, seed=config.seed)
    elif "split" in rows:
        names = split_by_folders(rows, split_by=split_by)
    else:
        names = split_release(
            rows["image_id"].tolist(), together(rows), seed=config.seed, split_by=split_by
        )
    for name in ("train", "validation"):
        if name not in names:
            raise DataError(
                f"{config.data_dir} leaves no image for {name}; add images, or the folder {name} "
                "where the data come split"
            )
    return names


def open_test_data(
    config: ExperimentConfig, progress: ProgressCallback | None = None
) -> GlobalTestSet | None:
    """Open the global test set of a config; None if there is none.

    It is in ``test-dir`` or beside the training set. Slices: the 2 of 7:1:2, by patient, or the
    folder ``test``; the same for all experiments with one seed.

    Its images are compared with all other images of the training release, also with validation
    images, because these choose the best model.

    Raises:
        DataError: ``test-dir`` is set but has no test set, or some test images are also in training
            and the config does not allow it.
    """
    if recognise_dataset(config).load_test is None:
        store = open_training(config, progress)
        is_test = split_patients(store.rows, seed=config.seed) == "test"
        split, training = select_images(store, is_test), store.rows[~is_test]
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
    training = training[~from_source(training, config.leave_out)]
    overlap = find_overlap(training, found.rows)
    if not config.allow_overlap:
        refuse(overlap)
    return replace(found, overlap=overlap)


def open_left_out(config: ExperimentConfig, data: FederatedData) -> GlobalTestSet | None:
    """Return the images of the source that ``leave-out`` names as a test set; None if it is empty.

    They are compared with the images of all clients, as those of the global test set are.

    Raises:
        DataError: some are also at a client and the config does not allow it.
    """
    if not config.leave_out:
        return None
    store, chosen = data.store, from_source(data.store.rows, config.leave_out)
    rows = store.rows[chosen].reset_index(drop=True)
    split = select_images(store, chosen)
    found = GlobalTestSet(split, rows, store.classes, store.fingerprint, {})
    overlap = find_overlap(store.rows[data.plan["client"].notna()], found.rows)
    if not config.allow_overlap:
        refuse(overlap, "keep lesions together with split-by = lesion")
    return replace(found, overlap=overlap)


def training_images(config: ExperimentConfig, *, federated: bool) -> TrainingImages:
    """Open the images that a run's network was trained on; of a federated run, all clients'."""
    if federated:
        shared = open_federated_data(config)
        store, chosen = shared.store, (shared.plan["split"] == "train").to_numpy()
    else:
        data = open_central_data(config)
        store, chosen = data.store, data.split_names == "train"
    split = select_images(store, chosen)
    rows = store.rows.iloc[split.indices].reset_index(drop=True)
    return TrainingImages(split, rows, store.fingerprint, store.classes)


def training_table(
    config: ExperimentConfig, *, tests_in: Sequence[Path] | None = None
) -> ImageTable:
    """Read the tables of a config's training release; nothing is decoded.

    Args:
        tests_in: as for `Reading`; None: as the config says.
    """
    if tests_in is None and config.test_dir:
        tests_in = [Path(config.test_dir)]
    return recognise_dataset(config).load_training(Path(config.data_dir), reading(config, tests_in))


def reading(config: ExperimentConfig, tests_in: Sequence[Path] | None = None) -> Reading:
    """Return what a config says about reading a data folder."""
    first, second, third = config.modalities.split(",")
    return Reading(
        tests_in,
        (first, second, third),
        config.slices_per_patient,
        config.slice_choice,
        by_source=config.partition == "source",
    )


def test_table(config: ExperimentConfig) -> ImageTable | None:
    """Read the tables of a config's separate test set; None if there is none.

    Raises:
        DataError: ``test-dir`` is set but has no test set, or one with other classes.
    """
    dataset = recognise_dataset(config)
    if dataset.load_test is None:
        return None
    test_dir = Path(config.test_dir) if config.test_dir else None
    table = dataset.load_test(Path(config.data_dir), test_dir)
    if table is not None and dataset.classes is None:
        return table.with_classes(training_table(config).classes)
    return table


def open_training(
    config: ExperimentConfig,
    progress: ProgressCallback | None = None,
    *,
    tests_in: Sequence[Path] | None = None,
) -> ImageStore:
    """Open the image store of a config's training release; arguments as for `training_table`."""
    return open_table(config, training_table(config, tests_in=tests_in), progress)


def read_as(config: ExperimentConfig, table: ImageTable) -> ImageTable:
    """Return a table whose reader makes the pixels that ``input`` asks for.

    Raises:
        DataError: the images are not photographs.
    """
    if config.input == "study":
        return table
    if not isinstance(table.reader, Photographs):
        raise DataError(f"input = {config.input}: for photographs only; take input = study")
    reader = Photographs(
        square=config.keeps_aspect, shades_of_grey=config.input in ("shades-of-grey", "flamby")
    )
    return replace(table, reader=reader)


def open_table(
    config: ExperimentConfig, table: ImageTable, progress: ProgressCallback | None = None
) -> ImageStore:
    """Open the store of some images, with the size and cache folder of a config."""
    side = store_side(config.image_size)
    return open_store(
        read_as(config, table), side=side, cache_dir=cache_dir(config), progress=progress
    )
