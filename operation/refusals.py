"""What a server keeps of requests that it did not answer."""

import logging
from pathlib import Path

from starlette.types import Scope

from operation.logs import log_file

log = logging.getLogger(__name__)

# Of a stranger's request so much is logged; the rest could be a log's worth of anything.
_LOGGED_CHARACTERS = 200


def log_refusal(scope: Scope, reason: str = "") -> None:
    """Log that a request is refused: from where, what was asked, and why if that does not say it.

    Args:
        scope: the request's, or of one that never came whole its ``type`` and ``client``.
        reason: in our words, never in the sender's.
    """
    client = scope.get("client") or ("unknown", 0)
    asked = f"{scope.get('method', scope['type'])} {scope.get('raw_path', b'')!r}"
    because = f": {reason}" if reason else ""
    log.warning("refused %s:%s %s%s", client[0], client[1], asked[:_LOGGED_CHARACTERS], because)


def keep_refusals(path: Path) -> None:
    """Write what is refused to a file, and nowhere else."""
    handler = log_file(path, older=5)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
