"""The coordinator's SuperLink, as a process: Flower's own app behind our door.

Flower's program serves all its APIs on one socket. This one creates the same app, with the same
settings as ``--enable-supernode-auth --isolation process --superexec-auth-secret-file``, and serves
it on two: one for the sites and one for this machine.
"""

import argparse
import logging
import socket
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware import Middleware

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.door import Door, password
from operation.body_limits import keep_refusals
from operation.garbage import collect_promptly
from operation.http_bounds import bounded_server
from operation.task_token import names_task

# The supervisor's frequent requests, as Flower logs them.
_ROUTINE = ("ControlServicer.ListNodes", "ControlServicer.ListRuns")


def superlink_app(folder: CoordinatorFolder, inside: tuple[str, int]) -> FastAPI:
    """Create Flower's app, in which a site's requests are restricted to its own message.

    Args:
        inside: host and port of this machine's socket.
    """
    from fl_server.coordinator.fleet_authorization import FleetAuthorization
    from operation.flower_internals import (
        FLWR_IN_MEMORY_DB_NAME,
        ISOLATION_MODE_PROCESS,
        TRANSPORT_TYPE_GRPC_RERE,
        SuperLinkLifespan,
        SuperLinkLifespanConfig,
        create_superlink_app,
        load_control_authn_plugin,
    )

    host, port = inside
    app = create_superlink_app(
        SuperLinkLifespanConfig(
            control_address="",
            health_server_address=None,
            host=host,
            port=port,
            insecure=False,
            certificates=None,  # only needed by Flower's old gRPC servers, which are not started
            superexec_auth_secret=folder.secret.read_bytes(),
            authn_plugin=load_control_authn_plugin(),
            event_log_plugin=None,
            fleet_event_log_plugin=None,
            enable_event_log=False,
            artifact_provider=None,
            enable_supernode_auth=True,
            fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
            fleet_api_address=None,
            simulation=False,
            ssl_ca_certfile=str(folder.ca_certificate),
            ssl_certfile=str(folder.certificate),
            ssl_keyfile=str(folder.key),
            database=FLWR_IN_MEMORY_DB_NAME,
            isolation=ISOLATION_MODE_PROCESS,
            runtime_dependency_install=False,
        ),
        SuperLinkLifespan,
    )
    # The innermost middleware: it sees requests as Flower read them, and only from senders that
    # Flower has checked.
    app.user_middleware.append(Middleware(FleetAuthorization))
    return app


def serve_superlink(
    folder: CoordinatorFolder, public: socket.socket, inside: socket.socket
) -> None:
    """Serve a SuperLink until the process is asked to end.

    Args:
        public: a listening socket; open to the sites.
        inside: a socket listening on a loopback address; open to everything on this machine.
    """
    from operation.flower_internals import fleet_router

    address = inside.getsockname()[:2]
    routes = [route.path for route in fleet_router.routes if hasattr(route, "path")]
    keep_refusals(folder.logs / "door.log")
    logging.getLogger("flwr").addFilter(lambda record: record.msg not in _ROUTINE)
    app = superlink_app(folder, address)
    state = app.state.linkstate_factory.state()
    door = Door(
        app,
        inside=address,
        routes=routes,
        password=password(folder.secret.read_bytes()),
        is_task=lambda scope: names_task(scope, state.get_task_by_token),
    )
    server = bounded_server(
        door, ssl_certfile=folder.certificate, ssl_keyfile=folder.key, timeout_graceful_shutdown=5
    )
    collect_promptly()
    server.run(sockets=[public, inside])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("public", type=int, help="file number of the sites' listening socket")
    parser.add_argument("inside", type=int, help="file number of this machine's listening socket")
    arguments = parser.parse_args()
    serve_superlink(
        CoordinatorFolder(arguments.folder),
        socket.socket(fileno=arguments.public),
        socket.socket(fileno=arguments.inside),
    )
