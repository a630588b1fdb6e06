"""The program ``fedskin`` as a fork of a process that has imported its libraries: `tests.runs`."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the program; the first argument is the file for its errors, the others are its own."""
    errors = os.open(Path(sys.argv[1]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(errors, 2)
    os.close(errors)
    sys.argv = ["fedskin", *sys.argv[2:]]
    from experiments.cli import main as run

    run()
