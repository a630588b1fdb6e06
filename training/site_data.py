"""The data of a deployed run: a site's own images, and the coordinator's test set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from data_partition.splits import split_client, together
from training.config import ExperimentConfig
from training.division import units
from training.release import open_table, open_training
from training.split import CentralData, GlobalTestSet


def open_own_data(config: ExperimentConfig, client_index: int) -> CentralData:
    """Open one client's own data folder, split into training, validation and test.

    All images are split 60/20/20, as a simulation splits a client's part; with ``split-by =
    lesion``, which slices always have, lesions or patients stay together. If patients are already
    split, with a folder for testing, the folders are kept.

    Args:
        config: with the data folder and the seed.
        client_index: the client's, ≥ 0.

    Raises:
        ConfigError: no data folder is set.
        DataError: the folder is unusable, or gives fewer than two training images.
    """
    store = open_training(config, tests_in=[])
    rows, split_by = units(config, store)
    if "split" in store.rows and "test" in set(store.rows["split"]):
        names = store.rows["split"].to_numpy(dtype=str)
    else:
        names = split_client(
            store.rows["image_id"].tolist(),
            together(rows),
            seed=config.seed,
            client_index=client_index,
            split_by=split_by,
        )
    num_train = int(np.sum(names == "train"))
    if num_train < 2:
        raise DataError(
            f"{config.data_dir} leaves {num_train} training images, but at least 2 are needed; "
            "add images"
        )
    return CentralData(store, names)


def open_test_dir(
    config: ExperimentConfig, classes: Sequence[str] | None = None
) -> GlobalTestSet | None:
    """Open the global test set in ``test-dir``, without training images; None if it is not set.

    Args:
        classes: those of the run; None if they are not known yet.

    Raises:
        DataError: ``test-dir`` has no usable test set.
    """
    if not config.test_dir:
        return None
    test_dir = Path(config.test_dir)
    load_test = find_dataset(config.dataset).load_test
    assert load_test is not None  # otherwise `prepare_deployed` has refused test-dir
    table = load_test(test_dir, test_dir)
    assert table is not None  # None is possible only if a test set is optional
    if classes is not None:
        table = table.with_classes(classes)
    return GlobalTestSet.whole(open_table(config, table))
