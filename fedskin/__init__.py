"""fedskin in Python: start simulations, and read what runs left behind (docs/python.md).

A thin package over what the commands use. Importing it loads neither torch nor Flower.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from models.backbones import Backbone

__all__ = ["Config", "Run", "load", "simulate"]

_HOME = Path(__file__).parents[1]
_PACKAGES = (
    *("data_partition", "models", "strategies", "training", "operation"),
    *("fl_server", "fl_client", "experiments"),
)


def _check_packages(names: Sequence[str] = _PACKAGES) -> None:
    """Refuse to go on with another project's packages, whose names are as common as ours.

    Raises:
        ImportError: a package of one of these names comes first on Python's path.
    """
    for name in names:
        file = _file_of(name)
        if file is None or file.parent.parent != _HOME:
            nowhere = "nowhere" if name not in sys.modules else "a module that has no file"
            found = nowhere if file is None else str(file.parent)
            raise ImportError(
                f"fedskin's package {name!r} is found in {found}, not in {_HOME}: start Python in "
                f"another folder, or put {_HOME} first on its path"
            )


def _file_of(package: str) -> Path | None:
    try:
        spec = find_spec(package)
        file = None if spec is None else spec.origin
    except ValueError:  # it is imported already, and says nothing of how
        file = getattr(sys.modules[package], "__file__", None)
    return None if file is None else Path(file)


def _is_command() -> bool:
    """Return whether this process is the command ``fedskin``, or ``python -m fedskin``."""
    if sys.argv[0] != "-m":
        return Path(sys.argv[0]).stem == "fedskin"
    # -m is still importing the package; only what the interpreter was given tells of which module.
    module = sys.orig_argv[-len(sys.argv)]
    return re.fullmatch(r"(-\w*m)?fedskin(\.__main__)?", module) is not None


try:
    _check_packages()
except ImportError as error:
    if not _is_command():
        raise
    print(f"Error: {error}", file=sys.stderr)  # the command, which shows no traceback
    raise SystemExit(2) from None

from training.config import ExperimentConfig as Config  # noqa: E402
from training.config import Scalar  # noqa: E402


class Run:
    """A run folder, of any command.

    Attributes:
        config: the run's, resolved.
    """

    def __init__(self, path: Path | str) -> None:
        from training.run_folder import RunFolder

        self._folder = RunFolder(_path(path, "path", "a run folder").expanduser().absolute())
        self.path = self._folder.path
        self.config = self._folder.config()

    def __repr__(self) -> str:
        from training.lost_run import state_of

        status, _ = state_of(self._folder, self._folder.manifest())
        return f"<fedskin.Run {str(self.path)!r}, {self.config.backbone}, {status}>"

    @property
    def classes(self) -> list[str]:
        """The names of the K classes, in the order of the network's outputs.

        Raises:
            RunFolderError: the run has not read its images yet.
        """
        from training.errors import RunFolderError

        try:
            return list(self._folder.manifest()["data"]["classes"])
        except KeyError:
            raise RunFolderError(f"{self.path}: has not read its images yet") from None

    @property
    def figures(self) -> dict[str, Any]:
        """The content of ``metrics.json``, described in docs/run-folder.md.

        Raises:
            RunFolderError: the run is not completed.
        """
        return self._folder.metrics()

    @property
    def rounds(self) -> pd.DataFrame:
        """``rounds.jsonl`` as a table: a row for each finished round or epoch.

        A nested entry is a column with dots in its name, such as ``validation.pooled.bacc``.
        """
        import pandas as pd

        return pd.json_normalize(self._folder.rounds())

    def predictions(self, test_set: str = "global_test") -> pd.DataFrame:
        """Return ``predictions-<test_set>.csv``, with the probability of each class.

        Raises:
            RunFolderError: there are none of this name, or none at all.
        """
        from training.errors import RunFolderError

        beginning, end = "predictions-", ".csv"
        files = sorted(path.name for path in self.path.glob(f"{beginning}*{end}"))
        known = [name.removeprefix(beginning).removesuffix(end) for name in files]
        if test_set not in known:
            there = f"there are those of {', '.join(known)}" if known else "it has none"
            raise RunFolderError(
                f"{self.path}: has no predictions of {test_set!r}; {there} "
                "(those of clients are in its folder clients)"
            )
        return self._folder.predictions(test_set)

    def model(self) -> Backbone:
        """Return the best network, in evaluation mode, on the GPU if there is one.

        Raises:
            RunFolderError: the run is not completed.
            WeightsError: the weights that it starts from are missing.
        """
        from experiments.trained_model import find_model, open_network

        network, _ = open_network(find_model(self.path, None))
        return network.eval()

    def predict(self, images: Sequence[Path | str] | Path | str, head: Any = None) -> pd.DataFrame:
        """Classify images with the best network, as ``fedskin predict``.

        Args:
            images: one or several image files, tables of images, or folders of them.
            head: ``knn``, ``svm`` or ``rf`` of ``fedskin heads``; None: the network's own.

        Returns:
            A row for each image: ``image``, ``patient`` where known, ``predicted``, the probability
            of each class, and if the run is calibrated ``calibrated:<class>`` and the prediction
            sets ``set`` and ``set by class``, tuples of classes (docs/uncertainty.md).

        Raises:
            ConfigError: there is no head of this name.
            DataError: an image is missing, or none is named.
            RunFolderError: the run is not completed, or has no such head.
        """
        from data_partition.errors import DataError
        from experiments.prediction import predictions_of
        from experiments.trained_model import find_model
        from models.head_names import HEADS
        from training.errors import ConfigError

        if head not in (None, *HEADS):
            raise ConfigError(f"head = {head!r}: allowed is {', '.join(HEADS)} or None")
        several: Iterable[object]
        if isinstance(images, Iterable) and not isinstance(images, str):
            several = images
        else:
            several = [images]
        paths = [_path(path, "images", "an image file or a folder") for path in several]
        if not paths:
            raise DataError("images: none is named; name image files or folders of them")
        found = predictions_of(find_model(self.path, head), paths)
        return found.drop(columns="name").reset_index(drop=True)


def load(path: Path | str) -> Run:
    """Return the run in a folder; it need not be finished.

    Raises:
        RunFolderError: it is not a run folder.
    """
    return Run(path)


def simulate(
    config: Config | Mapping[str, Scalar] | Path | str,
    out: Path | str,
    *,
    quiet: bool = False,
    track: str | None = None,
) -> Run:
    """Run ``fedskin simulate``, or what is missing of it, and return the run.

    Args:
        config: a config, or keys with their values, such as ``{"data-dir": "skin", "rounds": 2}``.
            An underscore stands for a hyphen. Or the path of a TOML file.
        out: the run folder; with a run of the same config, that run is continued.
        quiet: show no progress.
        track: ``mlflow`` or ``tensorboard``, as ``--track``.

    Raises:
        ConfigError: a key is wrong, one line each, or the file cannot be read; or the tracker is
            unknown, not installed or not reached.
        DataError, WeightsError, RunFolderError: it cannot start; nothing was written.
        SimulationFailed: it ended without a result; the run folder has the cause and the log.
    """
    from experiments.console import Console
    from experiments.federated import run_simulation
    from experiments.run_setup import with_absolute_paths
    from experiments.tracking.follower import check_known
    from training.run_folder import RunFolder

    wanted = with_absolute_paths(_checked(config))
    check_known(track)
    folder = RunFolder(_path(out, "out", "the run folder").expanduser().absolute())
    wanted = wanted.replace(run_dir=str(folder.path))
    run_simulation(wanted, folder, Console(quiet=quiet), track=track)
    return load(folder.path)


def _checked(config: object) -> Config:
    """Return the config of what `simulate` was given."""
    from training.config import parse
    from training.config_file import read_config

    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        keys = {str(key).replace("_", "-"): value for key, value in config.items()}
        return parse({k: fspath(v) if isinstance(v, PathLike) else v for k, v in keys.items()})
    if isinstance(config, str | PathLike):
        return read_config(Path(config).expanduser())
    raise TypeError(
        f"config: is of type {type(config).__name__}; give keys with their values, a "
        "fedskin.Config, or the path of a TOML file"
    )


def _path(path: object, name: str, what: str) -> Path:
    """Return an argument that has to be a path."""
    if not isinstance(path, str | PathLike):
        raise TypeError(f"{name}: is of type {type(path).__name__}; give the path of {what}")
    return Path(path)
