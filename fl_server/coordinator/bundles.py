"""The bundle: the exact bytes that the sites approve and that runs are submitted with."""

import hashlib
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fl_server.bundle import write_app, write_settings
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from operation.errors import OperationError
from operation.files import parse_toml, write_bytes
from operation.plugins import PlugIn, for_pyproject, from_pyproject
from training.config import DEFAULTS, ExperimentConfig
from training.errors import ConfigError
from training.extension_points import plugins_of


def write_bundle(folder: CoordinatorFolder, packages: Sequence[str] = ()) -> tuple[Path, str]:
    """Write the bundle of this version of fedskin, and the invitation that names the version.

    A bundle that it replaces is kept under another name, for the runs that began with it.

    Args:
        packages: names of installed packages with plug-ins that are in the bundle.

    Returns:
        The bundle's path and its SHA-256.

    Raises:
        OperationError, ConfigError: a package cannot be in it.
    """
    # Imported here: importing Flower takes a second, and an existing bundle does not need it.
    from operation.flower_internals import build_fab_from_disk

    with TemporaryDirectory() as temporary:
        app = Path(temporary) / "app"
        write_app(app)
        files = _add(app, packages)
        content = build_fab_from_disk(app)  # the same files always give the same bytes
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if lost := sorted(files - set(archive.namelist())):
            raise OperationError(f"Flower takes no file called {lost[0]}; rename it")
    sha256 = hashlib.sha256(content).hexdigest()
    if folder.bundle.is_file() and (before := _sha256(folder.bundle)) != sha256:
        folder.bundle.rename(folder.bundle.with_name(f"{folder.bundle.stem}-{before[:12]}.fab"))
    write_bytes(folder.bundle, content)
    folder.write_invitation()
    return folder.bundle, sha256


def bundle_to_run(folder: CoordinatorFolder) -> str:
    """Return the SHA-256 of the bundle for new runs, which is written if there is none."""
    if not folder.bundle.is_file():
        return write_bundle(folder)[1]
    return _sha256(folder.bundle)


def check_plugins(folder: CoordinatorFolder, config: ExperimentConfig) -> None:
    """Check that the bundle for new runs holds the plug-ins that a config asks for.

    Raises:
        ConfigError: naming each that it lacks, or holds in another version.
    """
    asked = plugins_of(config.to_flat())
    held = _plugins_in(folder.bundle) if asked and folder.bundle.is_file() else ()
    faults = []
    for key, plugin in asked.items():
        if plugin not in held:
            versions = [p.owner for p in held if (p.group, p.name) == (plugin.group, plugin.name)]
            instead = f" but {versions[0]}" if versions else ""
            faults.append(
                f"{key} = {config.to_flat()[key]!r}: the bundle does not hold {plugin.owner}"
                f"{instead}; write it again with  fedskin coordinator bundle {folder.path} "
                f"--include {plugin.package}  and let every site approve it"
            )
    if faults:
        raise ConfigError("\n".join(faults))


def find_bundle(folder: CoordinatorFolder, sha256: str) -> bytes:
    """Return the bundle with a SHA-256, of any version.

    Raises:
        OperationError: it no longer exists.
    """
    for path in folder.path.glob("*.fab"):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    raise OperationError(
        f"its bundle {sha256[:12]} is no longer in {folder.path}; restore it, or continue with "
        "the new one by  fedskin run --resume"
    )


def _add(app: Path, packages: Sequence[str]) -> set[str]:
    """Put packages into an app's folder, and return the names of their files.

    Raises:
        OperationError, ConfigError: a package cannot be in it, or two do not fit together.
    """
    # Imported here: it is not needed by  fedskin run.
    from fl_server.coordinator.included import include

    config, plugins = dict(DEFAULTS), list[PlugIn]()
    methods: dict[str, Any] = {}
    files: set[str] = set()
    # By the name that the package has itself, so that order and spelling do not count.
    included = {found.plugins[0].package: found for found in map(include, packages)}
    for package, found in sorted(included.items()):
        for name, content in found.files.items():
            path = app / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for key, value in found.config.items():
            if config.setdefault(key, value) != value:
                raise OperationError(
                    f"--include {package}: its key {key!r} has another default in another package"
                )
        files |= found.files.keys()
        plugins += found.plugins
        methods |= found.methods
    write_settings(app, config, for_pyproject(plugins) | {"methods": methods}, sorted(files))
    return files


def _plugins_in(bundle: Path) -> tuple[PlugIn, ...]:
    with zipfile.ZipFile(bundle) as archive:
        about = parse_toml(archive.read("pyproject.toml").decode("utf-8"))
    return from_pyproject(about) or ()


def _sha256(bundle: Path) -> str:
    return hashlib.sha256(bundle.read_bytes()).hexdigest()
