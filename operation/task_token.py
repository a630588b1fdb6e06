"""Whether a request to a Runtime API of Flower's comes from a process that does a task."""

from flwr.supercore.constant import TASK_TOKEN_HEADER
from flwr.supercore.corestate import CoreState
from starlette.types import Scope

_HEADER = TASK_TOKEN_HEADER.encode("ascii")


def knows_task(scope: Scope, state: CoreState) -> bool:
    """Tell whether a request names the token of a task that is being done.

    Args:
        scope: of the request, whose body has not been read yet.
        state: of the SuperLink or SuperNode that gave the task out.
    """
    said = [value for name, value in scope["headers"] if name == _HEADER]
    return len(said) == 1 and state.get_task_by_token(said[0].decode("latin-1")) is not None
