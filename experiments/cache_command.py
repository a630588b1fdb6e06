"""``fedskin data cache``: what is kept beside the data, and what no run needs any more."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from experiments.console import Console, echo

_DAY = 24 * 3600


def cache(
    directory: Annotated[Path | None, typer.Argument(metavar="[DIR]", show_default=False)] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what is not needed any more, after a question.")
    ] = False,
    unused_days: Annotated[
        int | None,
        typer.Option(min=0, help="What was not used for so many days is not needed either."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """List what the cache folder DIR holds: decoded images, and features of networks.

    Without DIR it is your own cache, where runs without cache-dir keep theirs; a site's is the
    folder cache of the site. Everything in it can be made again.

    A store of images is not needed any more if its data folder is gone, or if its images have
    changed: no run can use it again. If the data are on a disk that is not connected now, their
    folder is gone, too.

    Examples:

    fedskin data cache

    fedskin data cache --clean --unused-days 90

    fedskin data cache site/cache
    """
    # Imported here, since --help needs none of it.
    from training.cache_folder import entries, remove
    from training.config import parse
    from training.release import cache_dir

    folder = directory or cache_dir(parse({}))
    found = entries(folder)
    table = Table("kept", "size", "last used", Column("made of", overflow="fold"), "not needed")
    unneeded = []
    for entry in found:
        made_of, why = entry.origin()
        days = (time.time() - entry.used) / _DAY
        if not why and unused_days is not None and days >= unused_days:
            why = f"not used for {days:.0f} days"
        if why:
            unneeded.append(entry)
        used = datetime.fromtimestamp(entry.used).date()
        table.add_row(entry.title, _size(entry.size), used.isoformat(), made_of, why)
    if not found:
        echo(f"{folder}: nothing is kept")
        return
    Console().print(table)
    echo(f"{folder}: {_size(sum(entry.size for entry in found))}")
    if not unneeded:
        return
    size = _size(sum(entry.size for entry in unneeded))
    if not clean:
        echo(f"Not needed any more: {len(unneeded)}, {size}; --clean removes them")
        return
    if not yes:
        typer.confirm(f"Remove {len(unneeded)} of them, {size}?", abort=True)
    for entry in unneeded:
        remove(entry)
    echo(f"Removed {len(unneeded)}, {size}")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
