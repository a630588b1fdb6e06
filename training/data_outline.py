"""What can be known of an experiment's data before any image is decoded."""

from dataclasses import dataclass

from data_partition.splits import split_patients
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.experiment_data import cut, deal, recognise, test_table, training_table


@dataclass(frozen=True)
class DataOutline:
    """What tables say of an experiment's data.

    Attributes:
        classes: class names in the order of the network's outputs.
        notices: what a person must know, a sentence each.
    """

    classes: tuple[str, ...]
    notices: tuple[str, ...]


def outline(config: ExperimentConfig, *, federated: bool, needs_test: bool = False) -> DataOutline:
    """Look at an experiment's data as far as that goes without decoding, which may take an hour.

    Whatever can be missing by then is said: labels, lesions, sources, sites, enough images for the
    clients, a test set. With ``partition = dirichlet`` the shares are drawn when it is known which
    images can be used.

    Args:
        config: resolved, or with ``dataset = "auto"``.
        federated: whether the images are dealt out to clients.
        needs_test: whether the experiment cannot do without a test set.

    Raises:
        ConfigError: no data folder is set, a test folder beside BraTS2019, or no test set though
            one is needed.
        DataError: a folder cannot be used, or not as asked.
    """
    table = training_table(config)
    if recognise(config) == "brats2019":
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
