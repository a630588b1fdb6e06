"""Finds out which data set is in a folder."""

from pathlib import Path

from data_partition.dataset import DataSet
from data_partition.datasets import DATASETS, own_datasets
from data_partition.errors import DataError
from data_partition.image_files import find_files
from data_partition.unread_files import say_what_else


def recognise(data_dir: Path) -> DataSet:
    """Return the data set in a folder, by its file names and the first line of its tables.

    Data sets with classes of their own are only looked for where no published one is found.

    Raises:
        DataError: there is no such folder, or it has no data set or several.
    """
    files = find_files(data_dir)
    published = [each for each in own_datasets() if each.classes is not None]
    others = [each for each in own_datasets() if each.classes is None]
    for candidates in (published, others):
        found = [each for each in candidates if each.is_in(files)]
        if len(found) > 1:
            titles = " and ".join(each.title for each in found)
            raise DataError(
                f"{data_dir} holds both {titles}; name the folder of one, or set dataset"
            )
        if found:
            return found[0]
    other = say_what_else(files)
    if nearly := " or, ".join(said for each in others if (said := each.nearly(files))):
        titles = ", ".join(each.title for each in published)
        raise DataError(
            f"{data_dir} holds no data set that is known; {nearly}; {titles} look otherwise, see "
            f"docs/data.md{other}"
        )
    known = " nor ".join(f"{each.title} ({each.layouts})" for each in published)
    own = " or ".join(f"{each.name} ({each.layouts})" for each in others)
    own = f"; for images of your own, dataset = {own}" if own else ""
    if further := " or ".join(plugin.name for plugin in DATASETS.plugins()):
        own += f"; of an installed package, dataset = {further}"
    raise DataError(f"{data_dir} holds no data set that is known: neither {known}{own}{other}")
