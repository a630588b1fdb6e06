"""How a command ends: errors that the user can fix go to standard error, with exit status 2."""

import sys
from collections.abc import Callable
from typing import NoReturn

from data_partition.errors import DataError
from experiments.console import Console, marked, shown
from models.errors import HeadError, WeightsError
from operation.errors import OperationError
from operation.files import keep_private
from training.errors import ConfigError, RunFolderError, TrainingError

MENDABLE = (
    ConfigError,
    DataError,
    HeadError,
    OperationError,
    RunFolderError,
    TrainingError,
    WeightsError,
)


def run(command: Callable[[], object]) -> None:
    """Run a command; errors that the user can fix give a line each and exit status 2."""
    try:
        keep_private()
        command()
    except MENDABLE as error:
        _complain(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}; choose another place or free disk space")
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(text: str) -> NoReturn:
    for line in text.splitlines():
        Console(stderr=True, soft_wrap=True).print(
            marked(f"[bold red]fedskin:[/] {shown(line)}"), highlight=False
        )
    sys.exit(2)
