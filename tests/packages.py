"""Packages with plug-ins, as an installer leaves them in a folder, for tests that install none."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_partition import datasets
from models import registry
from operation import plugins
from training import declared_keys
from training.extension_points import EXTENSION_POINTS

METHOD = """
from strategies.method import Key, Method

METHOD = Method("StepSize", "Author, 2020", "equation 1", {"step-size": Key(1.0, gt=0)})
"""


@dataclass(frozen=True)
class Packages:
    """A folder on Python's path.

    Attributes:
        folder: like site-packages.
    """

    folder: Path

    def add(
        self,
        files: Mapping[str, str],
        entries: Mapping[str, Mapping[str, str]],
        *,
        name: str = "fedskin-example",
        version: str = "1.0",
    ) -> None:
        """Install a package.

        Args:
            files: their texts by name.
            entries: by group of entry points, the place of each entry by its name.
            name, version: of the distribution.
        """
        about = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir(parents=True)
        groups = (
            f"[fedskin.{group}]\n"
            + "".join(f"{entry} = {place}\n" for entry, place in found.items())
            for group, found in entries.items()
        )
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        (about / "entry_points.txt").write_text("\n".join(groups))
        for file, text in files.items():
            path = self.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        named = [*files, *(f"{about.name}/{path.name}" for path in about.iterdir())]
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in named))
        self.forget()

    def add_method(
        self,
        text: str = METHOD,
        *,
        name: str = "step-size",
        package: str = "fedskin-example",
        version: str = "1.0",
    ) -> None:
        """Install a package with one method, in one file."""
        module = f"example_{name.replace('-', '_')}"
        entries = {"strategies": {name: f"{module}:METHOD"}}
        self.add({f"{module}.py": text}, entries, name=package, version=version)

    def forget(self) -> None:
        """Forget what this process knows of packages, as a new process would."""
        importlib.invalidate_caches()
        plugins.all_plugins.cache_clear()
        plugins.bundled.cache_clear()
        datasets._with_checked_tables.cache_clear()
        registry._ask.cache_clear()
        declared_keys._made.clear()
        for point in EXTENSION_POINTS.values():
            point._loaded.clear()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]
