"""Runs a command: sleeping threads, one line for each error, exit statuses."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from experiments.console import Console, marked, shown
from operation.environment import let_threads_sleep
from operation.errors import InputError
from operation.files import FULL, keep_private


def run_command_line(command: Callable[[], object]) -> None:
    """Run a command; an `InputError` gives its lines and exit status 2.

    SIGTERM, with which batch systems and service managers end a process, has the effect of Ctrl-C:
    the run folder records it, every process ends, and the exit status is 130.
    """
    let_threads_sleep()
    try:
        keep_private()
        with _sigterm_interrupts():
            command()
    except InputError as error:
        _complain(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}; {_remedy(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def _remedy(error: OSError) -> str:
    """Return what helps; disk space is what only writing can lack."""
    if isinstance(error, FileNotFoundError):
        return "restore it, or name another"
    if isinstance(error, PermissionError):
        return "allow it, or choose another place"
    if error.errno in FULL:
        return "choose another place or free disk space"
    return "choose another place"


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(text: str) -> NoReturn:
    for line in text.splitlines():
        Console(stderr=True).say(marked(f"[bold red]fedskin:[/] {shown(line)}"))
    sys.exit(2)
