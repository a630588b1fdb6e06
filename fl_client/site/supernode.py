"""A site's SuperNode: Flower's own, with the guard in its connection.

Started by `fl_client.site.serve_site` as ``python -m fl_client.site.supernode DIR PORT``.

Flower's own program accepts no other connection, so its work is done here: the Runtime API for the
app's processes, on this machine's loopback address, and Flower's loop.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flwr.app import Error
from starlette.types import Scope

from fl_client.site.connection import Connection
from fl_client.site.guard import Guard
from fl_client.site.keys import load_key
from fl_client.site.site_folder import SiteFolder
from operation.body_limits import LARGEST_BYTES, SMALL_BYTES, BodyLimits
from operation.flower_internals import (
    ISOLATION_MODE_PROCESS,
    ErrorCode,
    InMemoryNodeState,
    NodeStateFactory,
    ObjectStore,
    ObjectStoreFactory,
    add_exit_handler,
    create_supernode_app,
    start_client_internal,
)
from operation.garbage import collect_promptly
from operation.http_bounds import bounded_server
from operation.long_poll import ACQUIRE_TASK, LongPoll
from operation.task_token import names_task

HOST = "127.0.0.1"

# An app's request for an object is answered within this time, whether it has arrived or not.
_COMING_SECONDS = 10.0
_LOOK_SECONDS = 0.05


class AnsweringState(InMemoryNodeState):
    """Flower's node state, which also answers for an app that ended without a reply.

    It also gives an app its message while its objects are still arriving.

    Flower waits for an app's reply without limit. It answers by itself for a process that was
    killed, but only if that had fetched its message; and not for one that was told to end and did.
    """

    def __init__(self, object_store: ObjectStore) -> None:
        super().__init__(object_store)
        self.on_task: Callable[[], None] = lambda: None
        """Called whenever there is a task for an app."""

    def create_task(self, *arguments: Any, **named: Any) -> int | None:
        """Create a task, as Flower does, and announce it."""
        task = super().create_task(*arguments, **named)
        self.on_task()
        return task

    def get_object(self, run_id: int, object_id: str) -> bytes | None:
        """Return an object; if it is in transit, wait for it for a while.

        An app is started when a message is announced, and asks for its objects while they arrive.
        If the answer were that one is missing, it would ask again after 1, 2, 4, up to 10 seconds.
        """
        deadline = time.monotonic() + _COMING_SECONDS
        while (content := super().get_object(run_id, object_id)) == b"":
            if time.monotonic() >= deadline:
                return b""
            time.sleep(_LOOK_SECONDS)
        return content

    def finish_task(self, task_id: int, sub_status: str, details: str) -> bool:
        finished = super().finish_task(task_id, sub_status, details)
        for task in self.get_tasks(task_ids=[task_id]) if finished else ():
            error = Error(ErrorCode.CLIENT_APP_CRASHED, "The app ended without an answer.")
            self._store_error_replies({task.run_id}, error)
        return finished

    def _store_error_replies(self, run_ids: set[int], error: Error) -> None:
        with self.lock_msg_store:
            for entry in self.msg_store.values():
                if entry.message.metadata.run_id in run_ids:
                    # Flower answers only for messages that were fetched.
                    entry.is_retrieved |= not entry.message.metadata.reply_to_message_id
            super()._store_error_replies(run_ids, error)


def run_supernode(site: SiteFolder, port: int) -> None:
    """Connect to the coordinator and serve until the process is ended.

    Args:
        port: port for the app's processes, on the loopback address.
    """
    settings = site.settings()
    secret = site.secret.read_bytes().strip()
    key = load_key(site.key)
    objects = ObjectStoreFactory()
    states = NodeStateFactory(objects)
    states.state_instance = state = AnsweringState(objects.store())
    api = runtime_api(states, secret)
    state.on_task = api.announce
    _serve_runtime_api(api, port)
    _put_guard_in(site, objects.store())
    collect_promptly()
    start_client_internal.start_client_internal(
        state_factory=states,
        server_address=settings.address,
        node_config=site.node_config(),
        root_certificates=site.ca.read_bytes(),
        insecure=False,
        authentication_keys=(key, key.public_key()),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_api_address=f"{HOST}:{port}",
        superexec_auth_secret=secret,
        runtime_dependency_install=False,
    )


def runtime_api(states: NodeStateFactory, secret: bytes) -> LongPoll:
    """Return the Runtime API for the app's processes; larger bodies are accepted only with a task's
    token.

    A request for a task is held until there is one.

    Args:
        states: returns the node's state.
        secret: needed by the superexec to take a task.
    """

    def most(scope: Scope) -> int:
        return LARGEST_BYTES if names_task(scope, states.state().get_task_by_token) else SMALL_BYTES

    app = BodyLimits(create_supernode_app(states, superexec_auth_secret=secret), most)
    return LongPoll(app, ACQUIRE_TASK)


def _serve_runtime_api(app: LongPoll, port: int) -> None:
    server = bounded_server(app, host=HOST, port=port, timeout_graceful_shutdown=1)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            sys.exit(f"port {port} cannot be listened on")
        time.sleep(0.05)

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=5)

    add_exit_handler(stop)


def _put_guard_in(site: SiteFolder, store: ObjectStore) -> None:
    """Give guarded callbacks to Flower's loop when it asks for its connection."""
    connect = start_client_internal.http_request_response  # type: ignore[attr-defined]

    @contextmanager
    def guarded(*arguments: Any) -> Iterator[Connection]:
        with connect(*arguments) as connection:
            site.contact.touch()
            yield Guard(site, store, Connection(*connection)).connection()

    start_client_internal.http_request_response = guarded  # type: ignore[assignment, attr-defined]


if __name__ == "__main__":
    run_supernode(SiteFolder(Path(sys.argv[1])), int(sys.argv[2]))
