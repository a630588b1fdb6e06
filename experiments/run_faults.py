"""What a command that shows a run says if the run's files are damaged or of another version."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.campaigns.finished_trial import read_form, read_rounds
from experiments.campaigns.run_files import Manifest, Metrics
from operation.errors import InputError
from training.errors import RunFolderError
from training.whole_files import of_this_version


@contextmanager
def faults_told(folder: Path) -> Iterator[None]:
    """Tell in a line of entries that are missing or have another shape, with the file at fault."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        with of_this_version(_faulty(folder)):
            raise


def _faulty(folder: Path) -> Path:
    """Return the first file that has not the form of a finished run's; the folder if all have."""
    rounds, metrics, manifest = (
        folder / name for name in ("rounds.jsonl", "metrics.json", "manifest.json")
    )
    checks = {
        rounds: lambda: read_rounds(folder),
        metrics: lambda: read_form(Metrics, metrics),
        manifest: lambda: read_form(Manifest, manifest),
    }
    for path, check in checks.items():
        try:
            if path.is_file():
                check()
        except RunFolderError:
            return path
    return folder
