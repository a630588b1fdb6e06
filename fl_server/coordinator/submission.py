"""One attempt at an order: a Flower run whose result is decided by its run folder."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fl_server.coordinator.bundles import find_bundle
from fl_server.coordinator.control import Control
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Order
from fl_server.federated_config import for_sites
from operation.files import write_text
from operation.processes import ProcessId
from training.preparation import PATH_KEYS
from training.run_folder import RunFolder
from training.run_state import RunState

# Until the ServerApp has written its name into the manifest, Flower is asked for the run's status.
ASK_SECONDS = 5.0
START_SECONDS = 600.0


@dataclass(frozen=True)
class Judgement:
    """The state of an attempt.

    Attributes:
        state: running, completed, failed or lost.
        cause: in one line, if failed or lost.
    """

    state: RunState
    cause: str | None = None


class Submission:
    """A Flower run that was submitted for an order.

    Args:
        nodes: Flower's number of each of the order's sites.

    Raises:
        OperationError: its bundle no longer exists.
        RunFolderError, ConfigError: its run folder is missing or damaged.
        ControlError: the SuperLink refuses it.
    """

    def __init__(
        self,
        folder: CoordinatorFolder,
        order: Order,
        control: Control,
        nodes: Mapping[str, int],
    ) -> None:
        self._run_folder = RunFolder(Path(order.run_dir))
        config = self._run_folder.config()
        bundle = find_bundle(folder, order.bundle)
        self._run_folder.update_manifest(
            status=RunState.RUNNING,
            phase="starting Flower",
            cause=None,
            finished=None,
            server=None,
            sites={name: nodes[name] for name in order.sites},
            run=self._run_folder.manifest().get("run") or uuid.uuid4().hex,
            bundle=order.bundle,
        )
        # Sites see the submitted config and refuse every path, so the coordinator's own paths are
        # passed to the ServerApp by this file.
        values = config.replace(run_dir=order.run_dir).to_flat()
        write_text(folder.places, tomli_w.dumps({key: values[key] for key in PATH_KEYS}))
        self._control = control
        self._run_id = control.start(bundle, order.bundle, for_sites(config).to_flat())
        self._started = self._asked = time.monotonic()

    @property
    def round(self) -> int:
        """The last finished round."""
        return self._run_folder.checkpoint.progress().round

    def judge(self) -> Judgement:
        """Return the state of the attempt; Flower's own status says too little.

        Raises:
            RunFolderError: the run folder is damaged.
            ControlError: the SuperLink does not answer.
        """
        gone = self._what_is_gone()
        # Checked last: a process that has ended may have finished its work just before.
        manifest = self._run_folder.manifest()
        if manifest.get("status") == RunState.COMPLETED:
            return Judgement(RunState.COMPLETED)
        if manifest.get("status") == RunState.FAILED:
            return Judgement(RunState.FAILED, str(manifest.get("cause")))
        return Judgement(RunState.LOST, gone) if gone else Judgement(RunState.RUNNING)

    def stop(self) -> None:
        """End the run in Flower, so that its messages are no longer delivered.

        Raises:
            ControlError: the SuperLink does not answer, or the run has ended.
        """
        self._control.stop(self._run_id)

    def _what_is_gone(self) -> str | None:
        server = self._run_folder.manifest().get("server")
        if server:
            alive = ProcessId(server["pid"], server["created"]).alive()
            return None if alive else "the process of the ServerApp ended unexpectedly"
        if time.monotonic() > self._started + START_SECONDS:
            return f"the ServerApp did not start within {START_SECONDS:.0f} s"
        if time.monotonic() > self._asked + ASK_SECONDS:
            self._asked = time.monotonic()
            status = self._control.status(self._run_id)
            if status.startswith("finished"):
                return f"Flower ended the run before it began ({status})"
        return None
