"""One attempt at an order: a run of Flower's, judged by the run folder that it fills."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fl_server.coordinator.bundles import find_bundle
from fl_server.coordinator.control import Control
from fl_server.coordinator.folder import CoordinatorFolder
from fl_server.coordinator.orders import COMPLETED, FAILED, RUNNING, Order
from fl_server.preparation import for_sites
from operation.files import write_text
from operation.processes import ProcessId
from training.preparation import PATH_KEYS
from training.run_folder import RunFolder

# An attempt that is over without a result, since a process of it died: it is to be made again.
LOST = "lost"

# Until the ServerApp has written its name into the manifest, Flower is asked how the run is doing.
ASK_SECONDS = 5.0
START_SECONDS = 600.0


@dataclass(frozen=True)
class Judgement:
    """What has become of an attempt.

    Attributes:
        state: ``running``, ``completed``, ``failed`` or ``lost``.
        cause: in one line, of the last two.
    """

    state: str
    cause: str | None = None


class Submission:
    """A run of Flower's that was submitted for an order.

    Args:
        folder: the coordinator's.
        order: what is to be done.
        control: of the SuperLink.
        nodes: Flower's number of each of the order's sites.

    Raises:
        OperationError: its bundle is gone.
        RunFolderError, ConfigError: its run folder is gone or damaged.
        ControlError: the SuperLink does not take it.
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
            status="running",
            phase="starting Flower",
            cause=None,
            finished=None,
            server=None,
            sites={name: nodes[name] for name in order.sites},
            run=self._run_folder.manifest().get("run") or uuid.uuid4().hex,
            bundle=order.bundle,
        )
        # Sites refuse every path, and see what is submitted: where the coordinator keeps its
        # things is handed to the ServerApp by this file.
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
        """Say how the attempt stands; Flower's own word says too little.

        Raises:
            RunFolderError: the run folder is damaged.
            ControlError: the SuperLink does not answer.
        """
        gone = self._what_is_gone()
        # Looked at last: what is gone may have finished its work just before.
        manifest = self._run_folder.manifest()
        if manifest.get("status") == "completed":
            return Judgement(COMPLETED)
        if manifest.get("status") == "failed":
            return Judgement(FAILED, str(manifest.get("cause")))
        return Judgement(LOST, gone) if gone else Judgement(RUNNING)

    def stop(self) -> None:
        """End the run for Flower, so that its messages reach no site any more.

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
