"""From the command line to a config, a run folder, and its status in the manifest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from models.registry import file_name
from operation.errors import InputError
from training.config import PATH_KEYS, ExperimentConfig, Scalar
from training.config_file import read_config
from training.declared_keys import without_effect
from training.errors import RunFolderError
from training.preparation import DataOutline, outline_data, prefetch
from training.run_folder import RunFolder, now
from training.run_state import INTERRUPTED, RunState
from training.study import resolve_like


def load_config(
    path: Path | None, overrides: list[str] | None, defaults: Mapping[str, Scalar] | None = None
) -> ExperimentConfig:
    """Read a config and make its paths absolute, ``~`` expanded.

    Raises:
        ConfigError: a key is wrong.
    """
    return with_absolute_paths(read_config(path, overrides or [], defaults))


def with_absolute_paths(config: ExperimentConfig) -> ExperimentConfig:
    """Return a config whose paths are absolute, ``~`` expanded."""
    for key in PATH_KEYS:
        if value := str(config.to_flat()[key]):
            config = config.replace(**{key: str(Path(value).expanduser().absolute())})
    return config


def open_run(
    path: Path | None,
    overrides: list[str] | None,
    out: Path | None,
    *,
    resume: bool,
    kind: str,
    defaults: Mapping[str, Scalar] | None = None,
) -> tuple[ExperimentConfig, RunFolder]:
    """Return the config as wanted, with absolute paths, and the folder that it goes into.

    Args:
        path, overrides, out, resume: from the command line. A resumed run uses its own config,
            unless ``path`` names another; ``overrides`` are applied to it.
        kind: ``simulate`` or ``clip``, the command; a folder is only resumed by the command that
            started it, and a new one without ``--out`` is named after it.
        defaults: the command's, for keys that are not set.

    Raises:
        ConfigError, RunFolderError: something is missing or contradictory.
    """
    if resume and out is None:
        raise RunFolderError("--resume: give the run folder with --out")
    if resume and out is not None and path is None:
        folder = RunFolder(out.absolute())
        own = folder.config()
        _check_kind(folder, kind)
        config = load_config(None, overrides, own.to_flat())
        return config.replace(run_dir=str(folder.path)), folder
    config = load_config(path, overrides, defaults)
    if out is None:
        out = new_folder(config, f"{kind}-{file_name(config.backbone)}")
    folder = RunFolder(out.absolute())
    if resume:
        config = resolve_like(config, folder.config())
        _check_kind(folder, kind)
    elif folder.exists():
        raise RunFolderError(
            f"{folder.path}: already holds a run; add --resume to continue it, or choose "
            "another folder"
        )
    return config.replace(run_dir=str(folder.path)), folder


def new_folder(config: ExperimentConfig, name: str) -> Path:
    """Return the folder of a run without ``--out``: the config's, or one of this time and name."""
    return Path(config.run_dir or f"runs/{datetime.now():%Y%m%d-%H%M%S}-{name}")


def check_prerequisites(
    config: ExperimentConfig, folder: RunFolder, *, federated: bool, needs_test: bool = False
) -> DataOutline:
    """Find everything that a run lacks before its images are decoded, which may take an hour.

    Args:
        config, federated, needs_test: as for `outline_data`.

    Returns:
        The data's outline, with the notices about the config before those about the data.

    Raises:
        ConfigError, DataError: as for `outline_data`.
        WeightsError: the text features or the pretrained weights are missing or unusable.
    """
    found = outline_data(config, federated=federated, needs_test=needs_test)
    prefetch(config, folder, found.classes)
    return replace(found, notices=(*without_effect(config.to_flat()), *found.notices))


def _check_kind(folder: RunFolder, kind: str) -> None:
    began = folder.manifest().get("command", kind)
    if began != kind:
        raise RunFolderError(f"{folder.path}: was started by  fedskin {began};  use that command")


@contextmanager
def recorded(folder: RunFolder, **entries: Any) -> Iterator[None]:
    """Record the status in the manifest: running, then completed, or failed with the cause."""
    folder.update_manifest(status=RunState.RUNNING, cause=None, **entries)
    try:
        yield
    except InputError as error:
        folder.fail(str(error))
        raise
    except Exception as error:
        folder.fail(f"{type(error).__name__}: {error}")
        raise
    except KeyboardInterrupt:
        folder.fail(INTERRUPTED)
        raise
    folder.update_manifest(status=RunState.COMPLETED, finished=now())
