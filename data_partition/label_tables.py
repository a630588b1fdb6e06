"""Tables of labels, and label rows.

Label rows are a frame with the columns ``image_id``, ``label``, ``lesion_id`` and ``source``, the
last two None if unknown.
"""

import csv
import io
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile

LABEL_COLUMNS = ("image_id", "label", "lesion_id", "source")

_TABLE_SUFFIXES = ("", ".csv", ".tab")


def is_table(file: FoundFile) -> bool:
    """Return whether a file is a table by its suffix; HAM10000's metadata may have none."""
    return file.suffix in _TABLE_SUFFIXES and not file.dangling


def read_header(file: FoundFile) -> frozenset[str]:
    """Return the column names of a table; for other files the result has no meaning."""
    first_line = file.first_line()
    names = first_line.strip().split(delimiter(first_line))
    return frozenset(name.strip().strip('"') for name in names)


def tables_with(files: Iterable[FoundFile], columns: frozenset[str]) -> list[FoundFile]:
    """Return the tables among files that have all of these columns."""
    return [file for file in files if is_table(file) and read_header(file) >= columns]


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


def read_table(file: FoundFile, needed: frozenset[str]) -> pd.DataFrame:
    """Read a table with commas, semicolons or tabs, every cell as text; an empty cell is "".

    Raises:
        DataError: it is unreadable, or lacks a needed column.
    """
    content = file.read_bytes()
    try:
        text = one_line_end(content.decode("utf-8-sig"))
        separator = delimiter(text.split("\n", 1)[0])
        with warnings.catch_warnings(record=True) as cut:  # cells beyond the header's
            warnings.simplefilter("always", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                dtype=str,
                index_col=False,
                keep_default_na=False,
                skipinitialspace=True,
            )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.name} is not a readable table ({reason}); get it again") from error
    if cut and (line := _first_too_long(text, separator)):
        raise DataError(
            f"{file.name}, line {line}: has more cells than there are columns; put a cell that "
            "holds the separator in quotes"
        )
    table.columns = table.columns.str.strip()
    if len(twice := table.columns[table.columns.duplicated()]):
        raise DataError(f"{file.name} has the column {twice[0]} twice; keep the right one")
    missing = sorted(needed - set(table.columns))
    if missing:
        raise DataError(f"{file.name} lacks the column {', '.join(missing)}; get the whole table")
    # A row with fewer fields than the header has missing values at its end.
    return table.fillna("").apply(lambda column: column.str.strip())


def _first_too_long(text: str, separator: str) -> int:
    """Return the number of the first line that has a non-empty cell beyond the columns, or 0."""
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    columns = len(next(rows))
    return next((rows.line_num for row in rows if any(row[columns:])), 0)


def one_line_end(text: str) -> str:
    """Return a table with every line end as a line feed, also those in quoted cells: pandas would
    write others without quotes, and read back more rows than it wrote.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n")


def delimiter(header: str) -> str:
    """Return what separates the cells of a table, from its first line."""
    if "\t" in header:
        return "\t"
    return ";" if ";" in header and "," not in header else ","


def optional_column(table: pd.DataFrame, column: str) -> pd.Series:
    """Return a column with None for empty cells; all are None if the table lacks it."""
    values = table[column] if column in table.columns else [None] * len(table)
    return pd.Series([value or None for value in values], index=table.index, dtype=object)


def read_one_hot(file: FoundFile, classes: Sequence[str]) -> pd.DataFrame:
    """Read a ground truth of an ISIC challenge: ``image`` and a column for each class, in capitals.

    Returns:
        Label rows in the table's order; lesions and sources are None.

    Raises:
        DataError: the table is unreadable, lacks a column, or has a row without a single 1.
    """
    names = [name.upper() for name in classes]
    table = read_table(file, frozenset({"image", *names}))
    values = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    wrong = ~(np.isin(values, (0.0, 1.0)).all(axis=1) & (values.sum(axis=1) == 1.0))
    if wrong.any():
        image_id = table["image"].iloc[int(np.argmax(wrong))]
        raise DataError(
            f"{file.name}: the row of image {image_id} is not one-hot; "
            f"it needs a single 1 among the {len(names)} classes and 0 elsewhere"
        )
    labels = np.array(classes, dtype=object)[values.argmax(axis=1)]
    rows = pd.DataFrame({"image_id": table["image"], "label": labels})
    return rows.assign(lesion_id=None, source=None)
