"""A run at the server: its config, its folder, its lock, its end."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from logging import ERROR
from pathlib import Path
from typing import Any

import httpx
from flwr.common import log
from flwr.serverapp import Grid

from fl_server.deployment import is_deployed, places, run_deployed
from fl_server.federated_config import prepare_deployed, prepare_simulated
from fl_server.federation import Federation
from fl_server.nodes import FederationError, Gathered, introductions, wait_for_nodes
from operation.errors import InputError
from operation.processes import ProcessId
from strategies.replies import ProcessLost, TooFewReplies
from training.clip_text import as_text, describe_text, text_of_run
from training.config import ExperimentConfig, defaults, parse
from training.data_description import describe_data
from training.experiment_data import open_federated_data, open_left_out, open_test_data
from training.preparation import outline_data, prefetch
from training.reference import open_reference
from training.release import cache_dir
from training.run_environment import environment
from training.run_folder import RunFolder, now
from training.run_state import RunState

_EXPECTED = (InputError, FederationError, TooFewReplies, ProcessLost)


class RunFailed(RuntimeError):
    """A run that ended without a result, with the cause in one line."""


def run_federation(grid: Grid, values: Mapping[str, Any], *, run_id: int) -> Path:
    """Run a federation to its end and return its run folder.

    Args:
        values: the flat config; if ``run-dir`` is empty the results go into the cache folder. The
            coordinator's `places` take precedence.
        run_id: Flower's number for the run.

    Raises:
        RunFailed: there is no result; the manifest, if there is a folder, has the cause.
        httpx.HTTPError: the SuperLink has ended; in the manifest the run is still running.
    """
    with ExitStack() as until_end:
        try:
            # An app in a bundle also has the keys of the plug-ins that this run does not use.
            known = defaults(values)
            own = {key: value for key, value in values.items() if key in known}
            wanted = parse({**own, **places()})
            run_dir = Path(wanted.run_dir or cache_dir(wanted) / "runs" / str(run_id))
            folder = RunFolder(run_dir)
            wanted = wanted.replace(run_dir=str(run_dir))
            config = (
                prepare_deployed(wanted) if is_deployed(folder) else prepare_simulated(wanted)[0]
            )
            folder.create(config)
            until_end.enter_context(folder.lock())
        except _EXPECTED as error:
            raise RunFailed(str(error)) from None
        until_end.enter_context(_log_file(folder.log_path))
        try:
            _run_locked(grid, config, folder)
        except _EXPECTED as error:
            folder.fail(str(error))
            raise RunFailed(str(error)) from None
        except httpx.HTTPError:
            # The SuperLink has ended, which is not the run's fault: its watcher sees that this
            # process ended, and may start another that continues.
            raise
        except Exception as error:
            folder.fail(f"{type(error).__name__}: {error}")
            log(ERROR, "fedskin: the run failed", exc_info=error)
            raise
    return folder.path


def _run_locked(grid: Grid, config: ExperimentConfig, folder: RunFolder) -> None:
    if "versions" not in folder.manifest():  # the starter of the run knows its checkout better
        folder.update_manifest(**environment())
    deployed = is_deployed(folder)
    folder.update_manifest(
        command="run" if deployed else "simulate",
        status=RunState.RUNNING,
        phase="reading the data",
        cause=None,
        device=config.device,
        started=folder.manifest().get("started", now()),
        server=asdict(ProcessId.own()),
    )
    (run_deployed if deployed else _run_simulated)(grid, config, folder)
    folder.update_manifest(status=RunState.COMPLETED, phase="completed", finished=now())


def _run_simulated(grid: Grid, config: ExperimentConfig, folder: RunFolder) -> None:
    outline = outline_data(config, federated=True)
    prefetch(config, folder, outline.classes)
    nodes = wait_for_nodes(grid, config.clients)
    data = open_federated_data(config, table=outline.table)
    folder.check_same_images("data-dir", data.store.fingerprint)
    test_data = open_test_data(config, store=data.store)
    left_out = open_left_out(config, data)
    about = describe_data(config, data, test_data, left_out)
    if reference := open_reference(config):
        folder.check_same_images("reference-dir", reference.fingerprint)
        about["reference"] = {
            "images": len(reference.split),
            "fingerprint": reference.fingerprint,
        }
    folder.update_manifest(data=about)
    text = text_of_run(config, folder, data.store.classes)
    folder.update_manifest(text=describe_text(text))
    experiment = config.to_toml()

    def gather() -> Gathered:
        folder.update_manifest(phase="starting the clients")
        found = introductions(grid, nodes, experiment)
        names = {node: one.name for node, one in found.items()}
        described: dict[str, dict[str, Any]] = {one.name: one.sizes for one in found.values()}
        if config.partition == "source":
            # In every line and table a client has the name that people know it by; the order is
            # that of the names in the introductions.
            sources = {node: data.source(name) for node, name in names.items()}
            names = {node: f"{name} ({sources[node]})" for node, name in names.items()}
            described = {
                names[node]: {**one.sizes, "source": sources[node]} for node, one in found.items()
            }
        folder.update_manifest(clients=described)
        return Gathered(
            names=names,
            sizes={names[node]: one.sizes for node, one in found.items()},
            present={names[node]: one for node, one in found.items()},
        )

    settings = {"experiment": experiment}
    classes = data.store.classes
    federation = Federation(
        grid, config, folder, classes, test_data, as_text(text), settings, left_out
    )
    federation.run(gather)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Also write the log of Flower and this app to a file; a SuperLink shows it only on request."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
