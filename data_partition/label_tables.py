"""Reads the labels of a skin-lesion data set from its tables and folders.

Label rows are a frame with the columns ``image_id``, ``label``, ``lesion_id`` and ``source``, the
last two None if unknown. No other column is read: ``dx_type``, how a diagnosis was confirmed, would
leak the diagnosis.
"""

import io
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from data_partition.class_names import short_label
from data_partition.errors import DataError
from data_partition.image_files import FoundFile
from data_partition.image_table import HAM10000_CLASSES

LABEL_COLUMNS = ("image_id", "label", "lesion_id", "source")
METADATA_COLUMNS = frozenset({"image_id", "dx"})
ONE_HOT_COLUMNS = frozenset({"image", *(name.upper() for name in HAM10000_CLASSES)})

_TABLE_SUFFIXES = ("", ".csv", ".tab")


def is_table(file: FoundFile) -> bool:
    """Return whether a file is a table by its suffix; HAM10000's metadata may have none."""
    return file.suffix in _TABLE_SUFFIXES and not file.dangling


def read_header(file: FoundFile) -> frozenset[str]:
    """Return the column names of a table; for other files the result has no meaning."""
    first_line = file.first_line()
    names = first_line.strip().split(_delimiter(first_line))
    return frozenset(name.strip().strip('"') for name in names)


def read_metadata(file: FoundFile) -> pd.DataFrame:
    """Read a table in the format of HAM10000's metadata, comma or tab separated.

    Args:
        file: a table with ``image_id`` and ``dx``, and optionally ``lesion_id`` and ``dataset``.

    Returns:
        Label rows in the table's order.

    Raises:
        DataError: the table is unreadable, lacks a column, or has a label that is not one of the
            seven classes.
    """
    table = _read(file, METADATA_COLUMNS)
    rows = pd.DataFrame({"image_id": table["image_id"], "label": table["dx"].str.lower()})
    rows["lesion_id"] = _optional(table, "lesion_id")
    rows["source"] = _optional(table, "dataset")
    unknown = rows[~rows["label"].isin(HAM10000_CLASSES)]
    if len(unknown):
        image_id, label = unknown.iloc[0][["image_id", "label"]]
        raise DataError(_unknown_label(f"{file.name}: image {image_id}", label))
    return rows


def read_one_hot(file: FoundFile) -> pd.DataFrame:
    """Read a ground truth of the ISIC challenge: one column per class, a single 1 in each row.

    Raises:
        DataError: the table is unreadable, lacks a column, or has a row that is not one-hot.
    """
    table = _read(file, ONE_HOT_COLUMNS)
    names = [name.upper() for name in HAM10000_CLASSES]
    values = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    wrong = ~(np.isin(values, (0.0, 1.0)).all(axis=1) & (values.sum(axis=1) == 1.0))
    if wrong.any():
        image_id = table["image"].iloc[int(np.argmax(wrong))]
        raise DataError(
            f"{file.name}: the row of image {image_id} is not one-hot; "
            "it needs a single 1 among the seven classes and 0 elsewhere"
        )
    labels = np.array(HAM10000_CLASSES, dtype=object)[values.argmax(axis=1)]
    rows = pd.DataFrame({"image_id": table["image"], "label": labels})
    return rows.assign(lesion_id=None, source=None)


def read_lesion_groupings(file: FoundFile) -> dict[str, str | None]:
    """Read the lesion of each image of the ISIC challenge, by image id.

    Raises:
        DataError: the table is unreadable, lacks a column, or gives an image two lesions.
    """
    table = _read(file, frozenset({"image", "lesion_id"}))
    pairs = pd.DataFrame({"image": table["image"], "lesion_id": _optional(table, "lesion_id")})
    pairs = pairs.drop_duplicates()
    twice = pairs["image"][pairs["image"].duplicated()]
    if len(twice):
        raise DataError(f"{file.name}: image {twice.iloc[0]} has two lesions; remove one row")
    return dict(zip(pairs["image"], pairs["lesion_id"], strict=True))


def read_class_folders(images: Sequence[FoundFile]) -> pd.DataFrame:
    """Label images by the folder they are in, which is named after a class.

    Args:
        images: image files. Those outside the class folders and the folders beside these get no
            row.

    Returns:
        Label rows, one per labelled file; none if there is no class folder.

    Raises:
        DataError: a folder with images beside the class folders is not named after a class.
    """
    folders = [tuple(part.lower() for part in image.parts[:-1]) for image in images]
    parents = {folder[:-1] for folder in folders if folder and folder[-1] in HAM10000_CLASSES}
    labels: list[tuple[str, str]] = []
    for image, folder in zip(images, folders, strict=True):
        if not folder or folder[:-1] not in parents:
            continue
        if folder[-1] not in HAM10000_CLASSES:
            name = "/".join(image.parts[:-1])
            raise DataError(_unknown_label(f"folder {name}", image.parts[-2]))
        labels.append((image.stem, folder[-1]))
    rows = pd.DataFrame(labels, columns=["image_id", "label"])
    return rows.assign(lesion_id=None, source=None)


def merge_rows(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Merge label rows to one for each image; a value missing in one row is taken from another.

    Returns:
        Label rows sorted by ``image_id``, ids unique.

    Raises:
        DataError: two rows of one image contradict each other.
    """
    rows = pd.concat(list(tables), ignore_index=True).drop_duplicates()
    twice = rows[rows["image_id"].duplicated(keep=False)]
    distinct = twice.groupby("image_id").nunique()
    for column in LABEL_COLUMNS[1:]:
        conflicts = distinct.index[distinct[column] > 1]
        if len(conflicts):
            image_id = conflicts[0]
            values = twice.loc[twice["image_id"] == image_id, column].dropna().unique()
            raise DataError(
                f"image {image_id} has conflicting rows: {column} is both {values[0]} and "
                f"{values[1]}; keep the right one"
            )
    # first() skips missing values, so it finds the value from another table.
    merged = rows.groupby("image_id", as_index=False)[list(LABEL_COLUMNS[1:])].first()
    for column in ("lesion_id", "source"):
        values = [None if pd.isna(value) else value for value in merged[column]]
        merged[column] = pd.Series(values, dtype=object)
    return merged


def _read(file: FoundFile, needed: frozenset[str]) -> pd.DataFrame:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        table = pd.read_csv(
            io.StringIO(text),
            sep=_delimiter(text.split("\n", 1)[0]),
            dtype=str,
            index_col=False,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.name} is not a readable table ({reason}); get it again") from error
    table.columns = table.columns.str.strip()
    missing = sorted(needed - set(table.columns))
    if missing:
        raise DataError(f"{file.name} lacks the column {', '.join(missing)}; get the whole table")
    # A row with fewer fields than the header has missing values at its end.
    return table.fillna("").apply(lambda column: column.str.strip())


def _delimiter(header: str) -> str:
    return "\t" if "\t" in header else ","


def _optional(table: pd.DataFrame, column: str) -> pd.Series:
    values = table[column] if column in table.columns else [None] * len(table)
    return pd.Series([value or None for value in values], index=table.index, dtype=object)


def _unknown_label(where: str, label: str) -> str:
    if known := short_label(label):
        return (
            f"{where} has the class in words, {label!r}, where HAM10000 itself has {known!r}; get "
            f"the table as published, or write {', '.join(HAM10000_CLASSES)}"
        )
    return (
        f"{where} has the label {label!r}, which is not one of "
        f"{', '.join(HAM10000_CLASSES)}; correct it or remove it"
    )
