"""Facts about an experiment's data that are known before images are decoded."""

from dataclasses import dataclass

from data_partition.splits import split_patients
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.experiment_data import cut, deal, test_table, training_table


@dataclass(frozen=True)
class DataOutline:
    """Facts about an experiment's data from its tables and file names.

    Attributes:
        classes: class names in the order of the network's outputs.
        notices: see `data_partition.image_table.ImageTable`.
    """

    classes: tuple[str, ...]
    notices: tuple[str, ...]


def outline_data(
    config: ExperimentConfig, *, federated: bool, needs_test: bool = False
) -> DataOutline:
    """Check an experiment's data as far as possible without decoding, which may take an hour.

    Errors are found in labels, lesions, sources, sites, the number of images for the clients, and
    the test set. Only the shares of ``partition = dirichlet`` are checked later, when the usable
    images are known.

    Args:
        config: resolved, or with ``dataset = "auto"``.
        federated: whether the images are partitioned among clients.
        needs_test: whether the experiment needs a test set.

    Raises:
        ConfigError: no data folder is set, a test folder is set for a data set that has its own
            test patients, or a needed test set is missing.
        DataError: a folder is unusable, or does not fit the config.
    """
    table = training_table(config)
    if table.sliced:
        notices = table.notices
        has_test = "test" in split_patients(table.rows, seed=config.seed)
    else:
        test = test_table(config)
        notices = (*table.notices, *(test.notices if test else ()))
        has_test = test is not None
    if needs_test and not has_test:
        raise ConfigError(
            f"{config.data_dir}: heads are evaluated on a test set, and there is none; set test-dir"
        )
    if not federated:
        cut(config, table)
    elif config.partition != "dirichlet":
        deal(config, table)
    return DataOutline(table.classes, notices)
