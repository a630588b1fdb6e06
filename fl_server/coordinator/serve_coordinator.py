"""``fedskin coordinator serve``: one process that keeps a coordinator running."""

import errno
import ipaddress
import logging
import os
import socket
import time
from datetime import UTC, datetime, timedelta

from fl_server.coordinator.certificates import check_server_certificate, read_certificate
from fl_server.coordinator.coordinator_folder import CoordinatorFolder, CoordinatorSettings
from fl_server.coordinator.supervisor import Supervisor
from operation.environment import past_proxies
from operation.errors import OperationError
from operation.serving import serve_folder
from training.errors import RunFolderError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
WARN_BEFORE = timedelta(days=30)


def serve_coordinator(folder: CoordinatorFolder) -> None:
    """Serve a coordinator's folder until this process is interrupted.

    Raises:
        OperationError: another process serves it, its port is in use, or its certificate has
            expired.
    """
    settings = folder.settings()
    server = check_server_certificate(folder.certificate, folder.key)
    with serve_folder(folder.path) as (token, home):
        os.environ.update(past_proxies())
        with _listen(settings) as public, socket.create_server(("127.0.0.1", 0)) as inside:
            log.info("listening on %s port %d as %s", settings.bind, settings.port, settings.host)
            for name, found in (
                ("the server's certificate", server),
                ("the CA", read_certificate(folder.ca_certificate)),
            ):
                if found.not_valid_after_utc < datetime.now(UTC) + WARN_BEFORE:
                    log.warning("%s ends on %s", name, found.not_valid_after_utc.date())
            supervisor = Supervisor(folder, token=token, home=home, public=public, inside=inside)
            try:
                _tend(supervisor)
            finally:
                supervisor.end()


def _tend(supervisor: Supervisor) -> None:
    said = ""
    while True:
        try:
            supervisor.tend()
            said = ""
        except (OperationError, RunFolderError, OSError) as error:
            # A person can repair it while this process runs: free disk space, restore a file.
            if str(error) != said:
                said = str(error)
                log.error("%s", said)
        time.sleep(POLL_SECONDS)


def _listen(settings: CoordinatorSettings) -> socket.socket:
    version = ipaddress.ip_address(settings.bind).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    where = f"{settings.bind} port {settings.port}"
    try:
        return socket.create_server((settings.bind, settings.port), family=family, backlog=1024)
    except PermissionError:
        raise OperationError(
            f"{where}: ports below 1024 need a right that this user lacks; give it "
            "CAP_NET_BIND_SERVICE, or set another port in coordinator.toml"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperationError(
                f"{where}: is taken by another program; end that one, or set another port in "
                "coordinator.toml"
            ) from None
        raise OperationError(
            f"{where}: cannot be listened on ({error.strerror}); set bind in coordinator.toml to "
            "an address of this machine"
        ) from None
