"""Which images of a release belong to which client and split."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.errors import DataError
from data_partition.image_store import ImageStore
from data_partition.image_table import ImageTable
from data_partition.left_out import from_source, without_source
from data_partition.partition import plan_partition
from data_partition.published_split import with_split
from data_partition.splits import SplitBy, split_by_folders, split_patients, split_release, together
from training.array_store import kept
from training.config import ExperimentConfig
from training.config_keys import LESION_CLEAN
from training.errors import ConfigError
from training.release import cache_dir, published_split, recognise_dataset

IMAGE_KEYS = (
    *("dataset", "data-dir", "test-dir", "modalities", "slices-per-patient", "slice-choice"),
    *("image-size", "input"),
)
"""Keys that decide which images there are, and what is stored of them."""

DIVISION_KEYS = (
    *("partition", "clients", "dirichlet-alpha", "split", "split-file", "split-by", "leave-out"),
    "seed",
)
"""Keys that decide which client and split an image belongs to."""

_NAMED = 3  # clients in a notice


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


def cut(config: ExperimentConfig, data: ImageStore | ImageTable) -> NDArray[np.str_]:
    """Return the split of each image of a store or a table, for centralized training.

    Raises:
        ConfigError: a key is for federations only.
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


def units(config: ExperimentConfig, data: ImageStore | ImageTable) -> tuple[pd.DataFrame, SplitBy]:
    """Return the rows of the images that are split, and what stays together.

    With ``split = lesion-clean`` lesions stay together, and of images without one those that look
    alike: column ``look``. With a published split rows have the column ``fold``.

    Raises:
        DataError: the split file cannot be used, the images are slices, or lesions are to stay
            together that nobody names.
    """
    rows = data.rows
    if config.split == "random":
        unknown = config.split_by == "lesion" and rows["lesion_id"].isna().all()
        if unknown and not data.sliced:
            raise DataError(
                f"split-by = lesion needs lesion ids, which {config.data_dir} does not have; use "
                "split-by = image"
            )
        return rows, config.split_by
    if data.sliced:
        raise DataError(f"split = {config.split}: slices are always split by patient; leave it out")
    if config.split_file:
        rows = with_split(rows, published_split(config), Path(config.split_file))
    if config.split != LESION_CLEAN:
        return rows, config.split_by
    rows = rows.drop(columns="fold", errors="ignore")
    return rows.assign(look=_looks(config, data, rows)), "lesion"


def is_left_out(config: ExperimentConfig, data: ImageStore | ImageTable) -> NDArray[np.bool_]:
    """Return whether each image is from the source that ``leave-out`` names, (N,).

    Sources are the release's or, where it names none, those of the split file.

    Raises:
        DataError: see `units`.
    """
    rows = data.rows
    if not config.leave_out:
        return np.zeros(len(rows), dtype=bool)
    named, _ = units(config, data)
    chosen = named["image_id"][from_source(named, config.leave_out)]
    return from_source(rows, config.leave_out) | rows["image_id"].isin(chosen).to_numpy(dtype=bool)


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


def class_notices(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> tuple[str, ...]:
    """Return what every table says about classes that clients lack.

    Args:
        counts: by client, the number of its training images of each class.
    """
    held = {
        client: [c for c, n in zip(classes, row, strict=True) if n]
        for client, row in counts.items()
    }
    absent = [name for name in classes if not any(name in names for names in held.values())]
    notices = []
    if absent:
        notices.append(
            f"no client has training images of {', '.join(absent)}: no model can learn to see "
            f"{'them' if len(absent) > 1 else 'it'}"
        )
    alone = [f"{client} ({names[0]})" for client, names in held.items() if len(names) == 1]
    if alone:
        others = f" and {len(alone) - _NAMED} others" if len(alone) > _NAMED else ""
        notices.append(
            f"training images of one class only: {', '.join(alone[:_NAMED])}{others}; a client "
            "learns nothing of the others from them. With a loss that counts images by class set "
            "class-counts = federation"
        )
    return tuple(notices)


def split_notices(config: ExperimentConfig, plan: pd.DataFrame) -> tuple[str, ...]:
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
    if config.split == LESION_CLEAN and len(unknown):
        named = ", ".join(map(str, sorted(set(unknown.dropna())))) or "unknown sources"
        return (
            f"split = {LESION_CLEAN}: {len(unknown):,} images ({named}) have no lesion id; of "
            "these, images whose perceptual hashes are near count as one lesion",
        )
    return ()
