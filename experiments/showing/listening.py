"""The socket of the page, and the names by which a browser may ask for it."""

import errno
import ipaddress
import socket
from urllib.parse import urlsplit

from operation.errors import OperationError


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Args:
        host: an IP address or a name of this machine.
        port: 0 for any that is free.

    Raises:
        OperationError: the port is taken, or the address is not this machine's.
    """
    where = f"{host} port {port}"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except PermissionError:
        reason, remedy = "needs a right that this user lacks", "take another --port"
    except (OSError, UnicodeError) as error:
        reason, remedy = "is not of this machine", "take another --host"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason, remedy = "is taken by another program", "take another --port"
    raise OperationError(f"{where}: {reason}; {remedy}")


def is_local(listening: socket.socket) -> bool:
    """Return whether only this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def address_of(listening: socket.socket) -> str:
    """Return the address for a browser, without a path."""
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        return f"http://{socket.gethostname()}:{port}"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"


def is_meant(host_header: str, listening: socket.socket) -> bool:
    """Return whether a request's Host is this server, and not a name that somebody let point here.

    A page of another site could otherwise have its own name point to this machine, and read the
    answers as its own (DNS rebinding). An IP address cannot be made to point elsewhere.
    """
    host, port = listening.getsockname()[:2]
    try:
        asked = urlsplit(f"//{host_header}")
        name, asked_port = asked.hostname, asked.port or 80
    except ValueError:
        return False
    if name is None or asked_port != port:
        return False
    bound = ipaddress.ip_address(host)
    if not bound.is_unspecified:
        return name in ("localhost", host)
    return name in ("localhost", socket.gethostname().lower()) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
