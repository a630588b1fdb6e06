"""Heads in a separate run folder, on the network of another run.

Figures, predictions and heads are in the heads' folder; weights, text and deep features in the
other run's folder, to which the manifest's entry ``from`` points.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operation.files import creating_folder, replacing
from training.config import ExperimentConfig
from training.config_faults import HEAD_NAMES
from training.errors import RunFolderError
from training.run_environment import environment
from training.run_folder import RunFolder, now
from training.run_model import ModelName, check_trained, read_model
from training.run_state import RunState
from training.weights import Weights, weights_sha256
from training.whole_files import of_this_version

# Copied to a folder of heads: the entries of metrics.json and the files about the network.
FIGURES = (
    *("global_test", "left_out", "validation", "calibration", "last", "best_by", "best_round"),
    *("rounds", "weights_sha256", "ema"),
)
_OF_CLIENTS = ("clients", "client_test")  # whose other figures are not copied
FILES = (
    "rounds.jsonl",
    *(f"predictions-{model}global_test.csv" for model in ("", "last_", "ema_")),
    *(f"predictions-{model}left_out.csv" for model in ("", "last_", "ema_")),
)


def network_run(folder: RunFolder) -> RunFolder:
    """Return the run that has a run's network: itself, unless it holds heads on another run's."""
    origin = folder.manifest().get("from")
    if origin is None:
        return folder
    with of_this_version(folder.path / "manifest.json"):
        return RunFolder(Path(os.path.normpath(folder.path / origin["run"])))


def lacks_heads(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return what to say of a run of ``fedskin heads`` without heads; empty if it has them."""
    completed = manifest.get("status") == RunState.COMPLETED
    if completed and manifest.get("command") == "heads" and "heads" not in metrics:
        return "its network is trained, the heads are not fitted yet"
    return ""


def network_weights(
    folder: RunFolder, source: RunFolder, model: ModelName = "best", features: bool = False
) -> Weights:
    """Return the weights of a run's network.

    Args:
        source: the folder that has the weights: its `network_run`, or that folder's new place.
        model: which of its models; heads are on the best.
        features: whether only the network's features are wanted, not its own head.

    Raises:
        RunFolderError: ``source`` is missing, unfinished, or has other weights than when the heads
            in ``folder`` were started; or arrays that are needed stay at the clients.
    """
    origin = folder.manifest().get("from")
    if not source.exists() and origin is not None:
        raise RunFolderError(
            f"{source.path}: is missing, but has the network of {folder.path}; restore it"
        )
    source.check_completed()
    _, weights = read_model(source, model)
    check_trained(source, set(weights).difference(HEAD_NAMES if features else ()))
    if (
        origin is not None
        and model == "best"
        and weights_sha256(weights) != origin["weights_sha256"]
    ):
        raise RunFolderError(
            f"{source.path}: its weights are not those that the heads in {folder.path} were fitted "
            "on; fit new heads in another folder"
        )
    return weights


def begin(folder: RunFolder, config: ExperimentConfig, source: RunFolder, weights: Weights) -> None:
    """Make the folder for heads on another run's network, atomically.

    Args:
        folder: to be made; it may exist if it is empty.

    Raises:
        RunFolderError: the folder holds files already.
    """
    taken, metrics = source.manifest(), source.metrics()
    beside = source.path.parent == folder.path.parent
    manifest: dict[str, Any] = {
        **environment(),
        "command": "heads",
        "status": RunState.RUNNING,
        "cause": None,
        "from": {
            # Relative, so that a campaign's folder can be moved.
            "run": f"../{source.path.name}" if beside else str(source.path),
            "weights_sha256": weights_sha256(weights),
            "command": taken["command"],
        },
        "started": now(),
        "data": source.data(),
        "text": taken.get("text"),
    }
    if folder.path.is_dir() and any(folder.path.iterdir()):
        raise RunFolderError(f"{folder.path}: holds other files; choose an empty folder")
    with creating_folder(folder.path) as path:
        made = RunFolder(path)
        made.create(config)
        made.update_manifest(**manifest)
        figures = {key: metrics[key] for key in FIGURES if key in metrics}
        if "ema" in figures:
            figures["ema"] = {k: v for k, v in figures["ema"].items() if k not in _OF_CLIENTS}
        made.write_metrics(figures)
        for name in (name for name in FILES if (source.path / name).exists()):
            with replacing(made.path / name) as temporary:
                shutil.copyfile(source.path / name, temporary)
