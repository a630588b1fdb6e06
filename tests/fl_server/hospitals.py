"""Three sites and their coordinator in one process, with the real apps of server and clients."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict

import fl_client.client_app
from data_partition.errors import DataError
from fl_server.federated_config import for_sites, prepare_deployed
from fl_server.federated_run import run_federation
from operation.environment import PLACES_VARIABLE
from tests.fl_server.sites_in_memory import REFUSED, Answer, SitesInMemory
from tests.runs import tiny_config
from tests.support import BACKBONE
from training.run_folder import RunFolder

RUN = "0123456789abcdef" * 2
NODES = {"hospital-a": 30, "hospital-b": 20, "hospital-c": 10}


def act(message: Message, node: int, node_config: dict[str, Any]) -> Message:
    """Return the ClientApp's reply at a node."""
    try:
        return fl_client.client_app.app(message, Context(1, node, node_config, RecordDict(), {}))
    except DataError as error:
        return Message(Error(REFUSED, str(error)), reply_to=message)


@dataclass
class Hospitals:
    """Three sites with the ClientApp, and a coordinator with a run folder.

    Attributes:
        folder: where everything lies.
        data: the common release, whose test set the coordinator has.
        node_configs: by name.
        mishaps: by name and message type, errors that come in the place of the first answers;
            None where all is well.
        cheats: by name, what answers in the place of the ClientApp, but for introductions.
    """

    folder: Path
    data: Path
    node_configs: dict[str, dict[str, Any]]
    mishaps: dict[tuple[str, str], list[int | None]] = field(default_factory=dict)
    cheats: dict[str, Callable[..., Message | None]] = field(default_factory=dict)

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(self.folder / "run")

    def run(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        test_dir: object = "",
        init_from: object = "",
        **changes: Any,
    ) -> dict[str, Any]:
        """Begin a run as a coordinator does, or continue it; return its final metrics."""
        wanted = {"dataset": "ham10000", "rounds": 2, "min_replies": 3, **changes}
        here = {
            "run-dir": self.run_folder.path,
            "test-dir": test_dir,
            "init-from": init_from,
            "cache-dir": self.folder / "cache",
        }
        config = prepare_deployed(tiny_config("", "", **{"backbone": BACKBONE, **wanted}))
        file = self.folder / "places.toml"
        file.write_text("".join(f'{key} = "{path}"\n' for key, path in here.items()))
        monkeypatch.setenv(PLACES_VARIABLE, str(file))
        self.run_folder.create(config.replace(test_dir=str(test_dir), init_from=str(init_from)))
        # In another order than that of the names, which is what counts.
        self.run_folder.update_manifest(sites=dict(reversed(NODES.items())), run=RUN)
        self.grid = SitesInMemory({node: [self._site(name)] * 50 for name, node in NODES.items()})
        run_federation(self.grid, for_sites(config).to_flat(), run_id=1)
        return self.run_folder.metrics()

    def _site(self, name: str) -> Answer:
        def answer(message: Message) -> Message | None:
            mishaps = self.mishaps.get((name, message.metadata.message_type), [])
            code = mishaps.pop(0) if mishaps else None
            if code is not None:
                return Message(Error(code, "mishap"), reply_to=message)
            how = act if message.metadata.message_type == "query" else self.cheats.get(name, act)
            return how(message, NODES[name], self.node_configs[name])

        return answer
