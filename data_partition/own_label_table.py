"""A hospital's table: finds it among the files of a folder, reads its rows, finds their images."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_partition.errors import DataError
from data_partition.image_files import FoundFile, find_files
from data_partition.label_tables import delimiter, read_header
from data_partition.unread_files import say_what_else
from operation.text import printable, quoted

NEEDED = ("image", "label")
KNOWN = (*NEEDED, "lesion", "patient", "source", "split")
MAX_BYTES = 256 * 2**20
MAX_CELL = 300
"""Characters of a cell that is used."""

SUFFIXES = (".csv", ".tsv", ".tab")
_NAMED = 3  # files in a message of one line


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    where: str  # table and line, for errors
    cells: Mapping[str, str]  # by column of ``KNOWN``; "" where there is none

    def known(self, column: str) -> str | None:
        """Return a cell; None if it is empty."""
        return self.cells[column] or None


def is_label_table(files: Sequence[FoundFile]) -> bool:
    """Return whether a table has the columns image and label."""
    return any(set(NEEDED) <= columns for _, columns in _tables(files))


def _tables(files: Sequence[FoundFile]) -> Iterator[tuple[FoundFile, set[str]]]:
    """Yield each table and its columns, in lower case."""
    for file in files:
        if file.suffix in SUFFIXES and not file.dangling:
            yield file, {column.lower() for column in read_header(file)}


def find_table(directory: Path, files: Sequence[FoundFile]) -> FoundFile:
    """Return the one table of a folder that has the columns ``NEEDED``.

    Raises:
        DataError: there is none, or several.
    """
    tables = list(_tables(files))
    found = [file for file, columns in tables if set(NEEDED) <= columns]
    if len(found) > 1:
        names = " and ".join(printable(file.name) for file in found[:_NAMED])
        raise DataError(
            f"{directory} has several tables with the columns image and label: {names}; keep one, "
            "with a column split if some images are for testing"
        )
    if found:
        return found[0]
    others = "".join(f"; {said}" for said in map(_said, tables[:_NAMED]))
    raise DataError(
        f"{directory} has no table (CSV) with the columns image and label{others}"
        f"{say_what_else(files)}"
    )


def nearly_label_table(files: Sequence[FoundFile]) -> str:
    """Return what has to be changed so that one of the tables is one of labels; "" without any."""
    return " or, ".join(map(_said, [*_tables(files)][:_NAMED]))


def _said(table: tuple[FoundFile, set[str]]) -> str:
    file, columns = table
    names = ", ".join(printable(column, 40) for column in sorted(columns)[:10])
    return (
        f"{printable(file.name)} has the columns {names}: rename that of the images to "
        "image and that of their classes to label"
    )


def read_rows(table: FoundFile) -> Iterator[Row]:
    """Yield the rows of a table that are not blank.

    Raises:
        DataError: it is too large or unreadable, has a column twice or a row of another length, or
            a cell is too long or cannot be printed.
    """
    name = printable(table.name)
    size = table.size if table.member else Path(table.path).stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{name} has {size / 1e6:,.0f} MB; a table of labels is smaller")
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{name} is not in UTF-8; save it as CSV UTF-8") from None
    separator = delimiter(text.split("\n", 1)[0])
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [column.strip().lower() for column in next(lines)]
        if twice := {column for column in columns if columns.count(column) > 1} & set(KNOWN):
            raise DataError(f"{name} has the column {min(twice)} twice; remove one")
        for cells in lines:
            where = f"{name}, line {lines.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{where}: has {len(cells)} cells where the table has {len(columns)} columns; "
                    "put text with a comma in quotes"
                )
            found = dict(zip(columns, map(str.strip, cells), strict=True))
            row = Row(where, {column: found.get(column, "") for column in KNOWN})
            _check_cells(row)
            yield row
    except csv.Error as error:
        raise DataError(f"{name} is not a readable table ({error}); save it again") from error


def _check_cells(row: Row) -> None:
    for column, cell in row.cells.items():
        if len(cell) > MAX_CELL or not cell.isprintable():
            raise DataError(
                f"{row.where}: {column} is {quoted(printable(cell, 40))}, which is longer than "
                f"{MAX_CELL} characters or has some that cannot be printed; correct it"
            )


def named_images(path: Path) -> tuple[list[tuple[str, FoundFile]], tuple[str, ...]]:
    """Return the images that the column image of a table names.

    Args:
        path: of the table; the images are beside it or below. It needs no labels.

    Returns:
        Each image's name as written and its file, and the names without a file.

    Raises:
        DataError: the table cannot be used, or none of its images is there.
    """
    files = find_files(path.parent)
    table = next((file for file in files if not file.member and file.parts == (path.name,)), None)
    if table is None or "image" not in {column.lower() for column in read_header(table)}:
        raise DataError(f"{path}: has no column image; name the one with the images' names so")
    index = files_by_name([file for file in files if file.is_image])
    found, lacking = [], []
    for row in read_rows(table):
        image_id, parts = image_path(row)
        file = named_file(parts, row, table, index)
        if file is None:
            lacking.append(image_id)
        else:
            found.append((image_id, file))
    if not found:
        raise DataError(f"{path}: none of its images is beside or below it; put them there")
    return found, tuple(lacking)


def files_by_name(images: Sequence[FoundFile]) -> defaultdict[str, list[FoundFile]]:
    """Return the images by file name, with and without its suffix."""
    index: defaultdict[str, list[FoundFile]] = defaultdict(list)
    for file in images:
        for name in {file.parts[-1], file.stem}:
            index[name].append(file)
    return index


def image_path(row: Row) -> tuple[str, tuple[str, ...]]:
    """Return an image's name with ``/`` between folders, and its parts."""
    name = row.cells["image"].replace("\\", "/")
    if not name:
        raise DataError(f"{row.where}: has no image; write its file name")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise DataError(
            f"{row.where}: image {quoted(name)} is an absolute path; write it relative to the table"
        )
    if ".." in parts or not parts:
        raise DataError(f"{row.where}: image {quoted(name)} is outside the folder; move it inside")
    return name, parts


def named_file(
    parts: tuple[str, ...], row: Row, table: FoundFile, index: Mapping[str, list[FoundFile]]
) -> FoundFile | None:
    """Return the file that an image's name means, None if there is none."""
    fitting = [
        file for file in index.get(parts[-1], ()) if file.parts[-len(parts) : -1] == parts[:-1]
    ]
    # A path from the table or from the data folder means that file, whatever is below.
    for base in (table.parts[:-1], ()):
        exact = [file for file in fitting if file.parts[:-1] == (*base, *parts[:-1])]
        if len(exact) == 1:
            return exact[0]
    if len(fitting) > 1:
        names = " and ".join(printable(file.name) for file in fitting[:_NAMED])
        raise DataError(
            f"{row.where}: image {quoted(row.cells['image'])} may be {names}; write more of its "
            "path, and its suffix"
        )
    return fitting[0] if fitting else None
