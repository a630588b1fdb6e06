"""Times and sizes in words, for plans."""

import shutil
from pathlib import Path


def duration(seconds: float) -> str:
    """Return a time as text with two or three digits, in seconds, minutes, hours or days."""
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        number = seconds / length
        if number < 100:
            return f"{number:.0f} {unit}" if unit == "s" or number >= 10 else f"{number:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"


def fine_duration(seconds: float) -> str:
    """Return a time like ``duration``, but with two digits below ten seconds."""
    return f"{seconds:.2g} s" if seconds < 9.5 else duration(seconds)


def free_bytes(folder: Path) -> int:
    """Return the free bytes where a folder is, or would be."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def gigabytes(size: float) -> str:
    """Return a size as text, in GB or, below 50 MB, in MB."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.0f} MB"
