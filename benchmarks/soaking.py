"""Shared by the soak tests of a federation: their folders and their result files."""

import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.result_files import RESULTS
from data_partition.synthetic_ham10000 import write_ham10000
from operation.files import write_json


@contextmanager
def soak_folders() -> Iterator[tuple[Path, Path, Path]]:
    """Yield a folder for runs that contains a small release and an empty folder for a federation.

    They are removed at the end of the ``with`` block. SIGTERM also ends the block: services would
    survive a soak test that is simply terminated.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="fedskin-soak-") as name:
        folder = Path(name)
        data, serving = folder / "ham10000", folder / "federation"
        write_ham10000(data, images=60, seed=0)
        serving.mkdir()
        yield folder, data, serving


def write_soak(name: str, circumstances: Mapping[str, Any], **found: Any) -> Path:
    """Write the results of a soak test, and return the path.

    Args:
        name: file name without its suffix.
        circumstances: from `benchmarks.machine.describe`, taken before.
        found: the results by their names in the file.
    """
    path = RESULTS / f"{name}.json"
    write_json(path, {"date": datetime.now(UTC).date().isoformat(), **circumstances, **found})
    return path
