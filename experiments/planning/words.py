"""Times and sizes in words, for plans."""

import shutil
from collections.abc import Iterator, Mapping
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


def room_lines(needed: Mapping[Path, float]) -> Iterator[str]:
    """Yield what is free at folders, a line each, and whether it is too little.

    Args:
        needed: bytes, by folder, which need not exist; folders on one disk need theirs together.
    """
    there = {each: next(p for p in (each, *each.parents) if p.exists()) for each in needed}
    disks = {each: place.stat().st_dev for each, place in there.items()}
    for each, place in there.items():
        together = sum(size for other, size in needed.items() if disks[other] == disks[each])
        free = shutil.disk_usage(place).free
        short = f"TOO LITTLE, {gigabytes(together)} are needed: " if together > free else ""
        yield f"{short}{gigabytes(free)} are free at {each}"


def gigabytes(size: float) -> str:
    """Return a size as text, in GB or, below 50 MB, in MB."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.0f} MB"
