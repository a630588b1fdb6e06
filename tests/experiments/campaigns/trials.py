"""Changes to the files of finished trials."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.runs import read_json


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds, in place."""
    found = read_json(path)
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def halve(path: Path) -> None:
    """Keep the first half, as a full disk may."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
