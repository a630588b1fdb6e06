"""Simulated clients without processes: both real apps, and messages that are Python objects."""

from pathlib import Path
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

import fl_client.client_app
from fl_server.federated_run import run_federation
from tests.runs import tiny_config
from tests.support import BACKBONE, MemoryGrid, answer, settings_of
from training.run_folder import RunFolder

ROUNDS = 3


class Clients(MemoryGrid):
    """Three simulated clients; client-1 refuses to train in one round, or sends what none asked."""

    def __init__(self, *, refuses: int = 0, cheats: bool = False) -> None:
        super().__init__(dict.fromkeys(range(3), self._act))
        self._refuses, self._cheats = refuses, cheats

    def _act(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if node == 1 and message.metadata.message_type == "train":
            if settings_of(message)["round"] == self._refuses:
                error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "not today")
                return Message(error, reply_to=message)
            if self._cheats:
                return answer(message, {}, num_examples=6)
        return fl_client.client_app.app(
            message, Context(1, node, {"partition-id": node}, RecordDict(), {})
        )


def run_in_memory(
    data: Path, cache: Path, out: Path, clients: Clients | None = None, **changes: Any
) -> dict[str, Any]:
    """Run the tiny config of `tests.runs` and return its final figures."""
    wanted = {"rounds": ROUNDS, "min_replies": 3, "run_dir": str(out), **changes}
    run_federation(
        clients or Clients(),
        tiny_config(data, cache, **{"backbone": BACKBONE, **wanted}).to_flat(),
        run_id=1,
    )
    return RunFolder(out).metrics()
