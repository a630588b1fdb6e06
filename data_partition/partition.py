"""Assigns each image to a client and to training, validation or test."""

import warnings
from typing import Literal

import numpy as np
import pandas as pd

from data_partition.errors import DataError
from data_partition.image_table import GroupedBy
from data_partition.splits import (
    SPLITS,
    SplitBy,
    number_units,
    split_client,
    split_patients,
    split_rest,
    together,
)
from operation.text import printable

Partition = Literal["iid", "dirichlet", "source"]
_SOURCE_LENGTH = 40  # length of a source's name in tables

# These numbers separate the random streams of one seed; the others are in splits.py.
_IID_STREAM = 2
_DIRICHLET_STREAM = 3

# The smallest number of units of a client with which each of its three splits gets one.
_MIN_DIRICHLET_UNITS = 4


def plan_partition(
    rows: pd.DataFrame,
    *,
    partition: Partition,
    clients: int,
    dirichlet_alpha: float,
    split_by: SplitBy,
    seed: int,
    grouped_by: GroupedBy = "lesion",
    sliced: bool = False,
    sources: str = "the source of every image, which some lack; add it",
) -> pd.DataFrame:
    """Assign a training set to clients and split each client's part.

    Args:
        rows: columns ``image_id`` (unique), ``label``, ``lesion_id`` and ``source``, optionally
            ``split``, ``pixels_sha256``, ``look``, and ``fold``: "test" for the images that are for
            testing at whichever client they are. The order of rows does not matter.
        partition: "iid": parts of equal size, at random; "dirichlet": each class in shares drawn
            from a symmetric Dirichlet distribution; "source": one client per source of the images,
            in order of the sources' names.
        clients: number of clients, ≥ 1.
        dirichlet_alpha: concentration, > 0; the smaller, the more the clients' classes differ.
        split_by: "image" or "lesion". A lesion has the label and source of its first image; lesions
            that share identical pixels count as one.
        sliced: whether images are slices of patients. If so, the test patients of
            ``split_patients`` are the global test set and belong to no client; the slices of each
            other patient stay together for any ``split_by``, if patients are known.
        sources: where sources come from and how to add them, for an error.

    Returns:
        Columns ``image_id``, ``label``, ``lesion_id``, ``client`` ("client-0", "client-1", …),
        ``split`` (one of ``SPLITS``) and ``source``, sorted by ``image_id``.

    Raises:
        DataError: there are more clients than units; lesions or sources are needed but unknown; the
            number of clients is not that of the sources; ``dirichlet_alpha`` leaves a client nearly
            empty; or a client has fewer than two training images.
    """
    if sliced:
        rows = rows[split_patients(rows, seed=seed) != "test"]
        split_by = "lesion" if rows["lesion_id"].notna().any() else "image"
    rows = rows.sort_values("image_id", ignore_index=True)
    plan, groups = rows[["image_id", "label", "lesion_id", "source"]], together(rows)
    if split_by == "lesion" and plan["lesion_id"].isna().all() and "look" not in rows:
        raise DataError(
            "split-by = lesion needs lesion ids, which this data set does not have; "
            "take split-by = image"
        )
    unit_of_image = number_units(groups, split_by)
    _, first_images = np.unique(unit_of_image, return_index=True)
    units = plan.iloc[first_images]
    if clients > len(units):
        kind = "image" if split_by == "image" else grouped_by
        raise DataError(
            f"{clients} clients are more than the {len(units)} {kind}s there are; lower clients"
        )
    if partition == "source":
        client_of_unit = _deal_by_source(units["source"], clients, sources)
    elif partition == "dirichlet":
        client_of_unit = _deal_dirichlet(units["label"], clients, dirichlet_alpha, seed)
    else:
        client_of_unit = _deal_iid(len(units), clients, seed)
    client_of_image = client_of_unit[unit_of_image]

    split = np.empty(len(plan), dtype=object)
    no_test = (rows["fold"] != "test").to_numpy() if "fold" in rows else None
    for index in range(clients):
        held = client_of_image == index
        split[held] = "test"
        if no_test is not None:
            cut, held = split_rest, held & no_test
        else:
            cut = split_client
        split[held] = cut(
            plan.loc[held, "image_id"].tolist(),
            [groups[place] for place in np.flatnonzero(held)],
            seed=seed,
            client_index=index,
            split_by=split_by,
        )
        num_train = int(np.sum(split[held] == "train"))
        if num_train < 2:
            raise DataError(
                f"client-{index} would have {num_train} training images, but needs at least 2; "
                "lower clients or choose another partition"
            )
    names = np.array([f"client-{index}" for index in range(clients)], dtype=object)
    plan.insert(3, "client", names[client_of_image])
    plan.insert(4, "split", split)
    return plan


def counts(plan: pd.DataFrame) -> pd.DataFrame:
    """Return the number of images of each class (columns) at each client (rows, by number)."""
    return split_counts(plan).groupby(level="client", sort=False).sum()


def split_counts(plan: pd.DataFrame) -> pd.DataFrame:
    """Return the number of images of each class (columns) in each split of each client.

    Returns:
        Integers. The index has the levels ``client``, by number, and ``split``, always all three.
    """
    table = pd.crosstab([plan["client"], plan["split"]], plan["label"])
    # Shorter names first, so that client-10 comes after client-9.
    names = sorted(plan["client"].unique(), key=lambda name: (len(name), name))
    every = pd.MultiIndex.from_product([names, SPLITS], names=["client", "split"])
    return table.reindex(every, fill_value=0)


def source_of(plan: pd.DataFrame, client: str) -> str:
    """Return the source that ``partition = source`` gave a client, as text for a table.

    A lesion follows its first image, so some images may be from another source.
    """
    sources = plan.loc[plan["client"] == client, "source"]
    return printable(str(sources.value_counts().idxmax()), _SOURCE_LENGTH)


def straddling_lesions(plan: pd.DataFrame) -> int:
    """Return how many lesions are in a training split and in a test split, of any clients."""
    trained = plan.loc[plan["split"] == "train", "lesion_id"].dropna()
    tested = plan.loc[plan["split"] == "test", "lesion_id"].dropna()
    return len(set(trained) & set(tested))


def _deal_iid(num_units: int, clients: int, seed: int) -> np.ndarray:
    # Not flwr-datasets' IidPartitioner, because it does not shuffle the rows.
    permuted = np.random.default_rng([seed, _IID_STREAM]).permutation(num_units)
    client_of_unit = np.empty(num_units, dtype=np.int64)
    for index, part in enumerate(np.array_split(permuted, clients)):
        client_of_unit[part] = index
    return client_of_unit


def _deal_dirichlet(labels: pd.Series, clients: int, alpha: float, seed: int) -> np.ndarray:
    # Imported here: it is slow to import, and a client that only needs its split does not use it.
    from datasets import Dataset
    from flwr_datasets.partitioner import DirichletPartitioner

    # The partitioner cuts each class in the order of its rows.
    permuted = np.random.default_rng([seed, _DIRICHLET_STREAM]).permutation(len(labels))
    shuffled = Dataset.from_dict({"label": labels.to_numpy()[permuted], "unit": permuted})
    client_of_unit = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        # It warns about each failed draw and raises after the last one.
        warnings.simplefilter("ignore")
        try:
            partitioner = DirichletPartitioner(
                num_partitions=clients,
                partition_by="label",
                alpha=float(alpha),
                min_partition_size=_MIN_DIRICHLET_UNITS,
                self_balancing=False,
                shuffle=False,
                seed=seed,
            )
            partitioner.dataset = shuffled
            for index in range(clients):
                client_of_unit[partitioner.load_partition(index)["unit"]] = index
        except ValueError as error:
            raise DataError(
                f"dirichlet-alpha = {alpha:g} does not give each of {clients} clients "
                f"{_MIN_DIRICHLET_UNITS} of the {len(labels)} units; raise dirichlet-alpha or "
                "lower clients"
            ) from error
    return client_of_unit


def _deal_by_source(found: pd.Series, clients: int, sources: str) -> np.ndarray:
    if found.isna().any():
        raise DataError(f"partition = source needs {sources} or take partition = iid")
    names, client_of_unit = np.unique(found.to_numpy(dtype=str), return_inverse=True)
    if len(names) != clients:
        listed = ", ".join(printable(name, _SOURCE_LENGTH) for name in names)
        raise DataError(
            f"partition = source has {len(names)} sources ({listed}) but clients = "
            f"{clients}; set clients = {len(names)}"
        )
    return client_of_unit
