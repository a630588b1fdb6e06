"""What the coordinator keeps of requests that it did not answer: ``door.log``."""

import logging
import logging.handlers
from pathlib import Path

from starlette.types import Scope

log = logging.getLogger(__name__)

# At most so much is kept of what strangers asked for.
_LOG_BYTES = 10_000_000
_LOGS = 5
# Of a stranger's request so much is logged; the rest could be a log's worth of anything.
_LOGGED_CHARACTERS = 200


def log_refusal(scope: Scope, reason: str = "") -> None:
    """Log that a request is refused: from where, what was asked, and why if that does not say it.

    Args:
        scope: the request's.
        reason: in our words, never in the sender's.
    """
    client = scope.get("client") or ("unknown", 0)
    asked = f"{scope.get('method', scope['type'])} {scope.get('raw_path', b'')!r}"
    because = f": {reason}" if reason else ""
    log.warning("refused %s:%s %s%s", client[0], client[1], asked[:_LOGGED_CHARACTERS], because)


def keep_refusals(path: Path) -> None:
    """Write what is refused to a file, and nowhere else."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_LOG_BYTES, backupCount=_LOGS, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
