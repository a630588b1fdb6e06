"""A file's name alone says which file is meant, in the documentation too."""

from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("fedskin", "data_partition", "models", "strategies", "training", "operation"),
    *("fl_server", "fl_client", "experiments", "benchmarks"),
)
# `errors.py` is where a package's own exceptions are.
EXEMPT = {"__init__", "__main__", "errors"}


def test_no_two_files_of_different_packages_share_a_name() -> None:
    found = defaultdict(list)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found[path.stem].append(path.relative_to(ROOT).as_posix())
    assert len(found) > 300
    shared = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert shared.keys() <= EXEMPT, shared
