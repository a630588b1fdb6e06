"""Logging of refused requests."""

import logging
from pathlib import Path

from starlette.types import Scope

from operation.logs import log_file

log = logging.getLogger(__name__)

# At most this much of a request is logged; the rest could be of any size and content.
_LOGGED_CHARACTERS = 200


def log_refusal(scope: Scope, reason: str = "") -> None:
    """Log a refused request: its address, its path, and the reason if the path does not explain it.

    Args:
        scope: the request's scope; of an incomplete request its ``type`` and ``client``.
        reason: text from this program, never from the sender.
    """
    client = scope.get("client") or ("unknown", 0)
    asked = f"{scope.get('method', scope['type'])} {scope.get('raw_path', b'')!r}"
    because = f": {reason}" if reason else ""
    log.warning("refused %s:%s %s%s", client[0], client[1], asked[:_LOGGED_CHARACTERS], because)


def keep_refusals(path: Path) -> None:
    """Write refusals to a file, and nowhere else."""
    handler = log_file(path, older=5)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
