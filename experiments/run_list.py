"""The run folders below a folder, each read for one line of a list."""

import math
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from operation.errors import InputError
from operation.files import parse_toml
from training.errors import RunFolderError
from training.head_run import lacks_heads, network_run
from training.lost_run import state_of
from training.run_folder import CENTRALIZED, RunFolder
from training.run_state import RunState

DAMAGED = "damaged"
FIGURES = ("avg", "bacc", "auroc")
OF_AVERAGE = tuple(f"ema_{figure}" for figure in FIGURES)


@dataclass(frozen=True)
class ListedRun:
    """A run folder in a line."""

    run: str  # the folder, relative to the one that was searched
    state: str  # of `RunState`; ``lost`` if it says running and no process holds it; or ``damaged``
    cause: str  # why it is failed, lost, damaged or without its heads; else empty
    command: str
    method: str  # of federated learning; empty for a centralized run
    backbone: str
    data: str
    done: int
    rounds: int  # as planned; of a centralized run, epochs. ``done`` of them are done.
    # What the figures are of: ``global test``, the global test set; if that is not judged
    # ``clients' tests``, pooled, or ``clients' tests, own models``. Empty until it is completed.
    on: str
    # Of the best model; None until the run is completed, or if not defined.
    avg: float | None
    bacc: float | None
    auroc: float | None
    # The same of the moving average of key ema-decay; None for a run without it.
    ema_avg: float | None
    ema_bacc: float | None
    ema_auroc: float | None
    ended_early: str  # why it is completed with fewer rounds than planned; else empty
    date: str  # when it began, UTC
    bytes: int  # of all its files
    config: Mapping[str, Any]  # all keys, also of another version; empty if it is damaged

    def value(self, name: str) -> Any:
        """Return a column's value, or that of a config's key; None if there is none."""
        return getattr(self, name) if name in COLUMNS else self.config.get(name)


COLUMNS = tuple(field.name for field in fields(ListedRun) if field.name != "config")
"""What a line says of a run; any other name is a config's key."""


def run_folders(folder: Path) -> Iterator[Path]:
    """Find the run folders below a folder, or itself; links and hidden folders are not entered."""
    for path, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if {"config.toml", "manifest.json"} <= {*files}:
            names.clear()  # a run holds no other runs
            yield Path(path)


def read_run(path: Path, folder: Path) -> ListedRun:
    """Read what a line of the list says of a run; files that cannot be read make it damaged."""
    run = RunFolder(path)
    size = 0
    for inside, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # a temporary file, renamed meanwhile
                size += (Path(inside) / name).lstat().st_size
    name = "." if path == folder else path.relative_to(folder).as_posix()
    try:
        return _read(run, name, size)
    except InputError as error:
        cause = str(error)
    except OSError as error:
        cause = f"{error.filename}: cannot be read: {error.strerror}"
    except (TypeError, ValueError, AttributeError):
        cause = "an entry of its files is of another kind than this version's"
    nothing: dict[str, Any] = dict.fromkeys((*FIGURES, *OF_AVERAGE))
    texts = ("command", "method", "backbone", "data", "on", "ended_early", "date")
    nothing |= dict.fromkeys(texts, "")
    return ListedRun(name, DAMAGED, cause, done=0, rounds=0, bytes=size, config={}, **nothing)


def _read(run: RunFolder, name: str, size: int) -> ListedRun:
    config, manifest = _config(run.path / "config.toml"), run.manifest()
    _need(manifest, "manifest.json", "command", "status")
    command, length = str(manifest["command"]), run.length_key()
    _need(config, "config.toml", "strategy", "backbone", "dataset", length)
    state, cause = state_of(run, manifest)
    metrics: Mapping[str, Any] = {}
    if state == RunState.COMPLETED:
        metrics = run.metrics()
        _need(metrics, "metrics.json", "rounds")
    cause = cause or lacks_heads(manifest, metrics)
    return ListedRun(
        run=name,
        state=state,
        cause=cause,
        command=command,
        method="" if command in CENTRALIZED else str(config["strategy"]),
        backbone=str(config["backbone"]),
        data=str(manifest.get("data", {}).get("dataset") or config["dataset"]),
        done=metrics["rounds"] if metrics else run.checkpoint.progress().round,
        rounds=int(config[length]),
        ended_early=str(manifest.get("ended_early") or ""),
        date=str(manifest.get("started") or ""),
        bytes=size,
        config=config,
        on=_judged(metrics)[0],
        **_figures(metrics, FIGURES),
        **_figures(metrics.get("ema", {}), OF_AVERAGE),
    )


def _config(path: Path) -> Mapping[str, Any]:
    """Read a config, which may be of another version; what is no number, text or truth value is
    given as text.
    """
    try:
        found = parse_toml(path.read_text(encoding="utf-8"))
        return {key: value if _is_plain(value) else str(value) for key, value in found.items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: is not TOML: {error}") from None


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _need(entries: Mapping[str, Any], file: str, *keys: str) -> None:
    if lacking := [key for key in keys if key not in entries]:
        raise RunFolderError(f"{file} lacks {', '.join(lacking)}")


def _figures(blocks: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    """Return `FIGURES` of one model under other names."""
    _, block = _judged(blocks)
    return {name: block.get(figure) for name, figure in zip(names, FIGURES, strict=True)}


def _judged(blocks: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return what a run's figures are of, see `ListedRun.on`, and the block that has them."""
    if "global_test" in blocks:
        return "global test", blocks["global_test"]
    if "client_test" in blocks:
        own = blocks.keys() & {"shared", "local_arrays"}
        return f"clients' tests{', own models' if own else ''}", blocks["client_test"]
    return "", {}


def order(run: ListedRun, column: str) -> tuple[Any, ...]:
    """Return what to sort by: numbers first, from the highest if they are a column's, from the
    lowest if they are a config's; then text from A to Z, and last what has no value.
    """
    value = run.value(column)
    number = value if isinstance(value, int | float) else 0
    said = value if isinstance(value, str) else ""
    first = isinstance(value, int | float)
    return value is None, not first, -number if column in COLUMNS else number, said, run.run


def of_campaign(path: Path) -> bool:
    """Return whether a run folder is a trial's, which only its campaign removes."""
    return (path.resolve().parent.parent / "plan.json").is_file()


def why_kept(run: ListedRun, folder: Path, needed: Collection[Path]) -> str:
    """Return why a run without a result is not removed with the others; empty if it is.

    Args:
        run: that is failed, lost or damaged.
        folder: the one that was searched.
        needed: from `needed_by_heads`.
    """
    path = folder / run.run
    if run.state == DAMAGED:
        return "only you can tell whether something of it is of use"
    if of_campaign(path):
        return "its campaign attempts it again"
    return "heads use its network" if path.resolve() in needed else ""


def needed_by_heads(folder: Path) -> set[Path]:
    """Return the run folders whose networks other folders of heads use."""
    runs = [RunFolder(path) for path in run_folders(folder)]
    found = set()
    for run in runs:
        with suppress(RunFolderError):  # it is damaged, and says nothing
            if (source := network_run(run)) is not run:
                found.add(source.path.resolve())
    return found
