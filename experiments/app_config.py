"""Writes the config's keys with their defaults into pyproject.toml: ``make app-config``.

Flower lets a run override only the keys that stand there, so a new key, or a new method with keys
of its own, has to be written down once.
"""

from pathlib import Path

import tomli_w

from training.config import DEFAULTS

_TABLE = "[tool.flwr.app.config]\n"


def with_defaults(pyproject: str) -> str:
    """Return the text of pyproject.toml with the table of defaults, which is its last, renewed."""
    before, table, _ = pyproject.partition(_TABLE)
    return before + table + tomli_w.dumps(DEFAULTS)


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "pyproject.toml"
    path.write_text(with_defaults(path.read_text(encoding="utf-8")), encoding="utf-8")
