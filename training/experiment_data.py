"""The images of an experiment: those of its clients, and its test sets.

Errors as in `training.release`; the docstrings below name only further ones.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from data_partition.copies import find_overlap, refuse
from data_partition.image_store import ImageStore, ProgressCallback
from data_partition.image_table import ImageTable
from data_partition.splits import split_patients
from training.config import ExperimentConfig
from training.division import class_notices, cut, deal, is_left_out, split_notices, units
from training.release import (
    open_table,
    open_training,
    published_split,
    recognise_dataset,
    test_table,
)
from training.split import CentralData, FederatedData, GlobalTestSet, StoredImages


@dataclass(frozen=True)
class DataFacts:
    """The identity of an experiment's data."""

    dataset: str  # its name
    fingerprint: str  # of the training release; see ``data_partition.image_store.ImageStore``
    test_fingerprint: str | None  # of the global test set; None if there is none
    classes: tuple[str, ...]  # class names in the order of the network's outputs


def data_facts(config: ExperimentConfig, progress: ProgressCallback | None = None) -> DataFacts:
    """Return the facts of a config's data."""
    store = open_training(config, progress)
    test_data = open_test_data(config, progress, store=store)
    return DataFacts(
        dataset=recognise_dataset(config).name,
        fingerprint=_with_split_file(config, store.fingerprint),
        test_fingerprint=test_data.fingerprint if test_data else None,
        classes=store.classes,
    )


def _with_split_file(config: ExperimentConfig, fingerprint: str) -> str:
    """Return the fingerprint of images, which also covers the split file if there is one."""
    if not config.split_file:
        return fingerprint
    rows = published_split(config).read(Path(config.split_file)).sort_index().to_csv()
    return hashlib.sha256(f"{fingerprint}\n{rows}".encode()).hexdigest()


def open_federated_data(
    config: ExperimentConfig,
    progress: ProgressCallback | None = None,
    *,
    table: ImageTable | None = None,
) -> FederatedData:
    """Open the training release of a config and partition it among the clients.

    The image store is built the first time; later calls, from any process, map it into memory.

    Args:
        table: of the training release, if it has been read.

    Raises:
        DataError: the images cannot be partitioned as the config says.
    """
    store = open_training(config, progress, table=table)
    plan = deal(config, store)
    shares = plan[["image_id", "client", "split", "source"]]
    rows = store.rows.drop(columns=["split", "source"], errors="ignore")
    merged = rows.merge(shares, on="image_id", how="left", validate="one_to_one")
    trained = merged[merged["split"] == "train"]
    counts = pd.crosstab(trained["client"], trained["label"]).reindex(
        columns=list(store.classes), fill_value=0
    )
    store = replace(
        store,
        set_aside={**store.set_aside, **_at_no_client(config, store, plan)},
        fingerprint=_with_split_file(config, store.fingerprint),
        notices=(
            *store.notices,
            *split_notices(config, plan),
            *class_notices({str(row[0]): row[1:] for row in counts.itertuples()}, store.classes),
        ),
    )
    return FederatedData(store, merged)


def _at_no_client(
    config: ExperimentConfig, store: ImageStore, plan: pd.DataFrame
) -> dict[str, tuple[str, ...]]:
    """Return the images that neither a client nor a test set has, by reason."""
    if store.sliced or not (config.split_file or config.leave_out):
        return {}
    held = store.rows["image_id"].isin(plan["image_id"]) | is_left_out(config, store)
    named = store.rows["image_id"].isin(units(config, store)[0]["image_id"])
    found = {
        "image that the split file does not name": store.rows["image_id"][~held & ~named],
        "image of a lesion that the source left out has, too": store.rows["image_id"][
            ~held & named
        ],
    }
    return {reason: tuple(ids) for reason, ids in found.items() if len(ids)}


def open_central_data(
    config: ExperimentConfig,
    progress: ProgressCallback | None = None,
    *,
    table: ImageTable | None = None,
) -> CentralData:
    """Open the whole training release of a config, split into training and validation.

    80/20 with ``split-by``, or as the data set is already split. Slices: the 7 and the 1 of 7:1:2,
    by patient, or the folders ``train`` and ``valid``.

    Args:
        table: of the training release, if it has been read.

    Raises:
        DataError: no image is left for training or validation.
    """
    store = open_training(config, progress, table=table)
    return CentralData(store, cut(config, store))


def open_test_data(
    config: ExperimentConfig,
    progress: ProgressCallback | None = None,
    *,
    store: ImageStore | None = None,
) -> GlobalTestSet | None:
    """Open the global test set of a config; None if there is none.

    It is in ``test-dir`` or beside the training set. Slices: the 2 of 7:1:2, by patient, or the
    folder ``test``; the same for all experiments with one seed.

    Its images are compared with all other images of the training release, also with validation
    images, because these choose the best model.

    Args:
        store: of the training release, if it is open.

    Raises:
        DataError: ``test-dir`` is set but has no test set, or some test images are also in training
            and the config does not allow it.
    """
    if recognise_dataset(config).load_test is None:
        store = store or open_training(config, progress)
        is_test = split_patients(store.rows, seed=config.seed) == "test"
        if not is_test.any():
            return None
        training, found = store.rows[~is_test], GlobalTestSet.part(store, is_test)
    else:
        table = test_table(config)
        if table is None:
            return None
        store = store or open_training(config, progress)
        training = store.rows[~is_left_out(config, store)]
        found = GlobalTestSet.whole(open_table(config, table, progress))
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
    store, chosen = data.store, is_left_out(config, data.store)
    found = GlobalTestSet.part(store, chosen)
    overlap = find_overlap(store.rows[data.plan["client"].notna()], found.rows)
    if not config.allow_overlap:
        refuse(overlap, "keep lesions together with split-by = lesion")
    return replace(found, overlap=overlap)


def training_images(config: ExperimentConfig, *, federated: bool) -> StoredImages:
    """Open the images that a run's network was trained on; of a federated run, all clients'."""
    if federated:
        shared = open_federated_data(config)
        store, chosen = shared.store, (shared.plan["split"] == "train").to_numpy()
    else:
        data = open_central_data(config)
        store, chosen = data.store, data.split_names == "train"
    return StoredImages.part(store, chosen)
