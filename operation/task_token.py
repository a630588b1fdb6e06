"""Whether a request to a Runtime API of Flower's comes from a process that does a task."""

from collections.abc import Callable

from starlette.types import Scope

HEADER = "flwr-task-token"  # as Flower names it; this floor does not know Flower


def names_task(scope: Scope, task_of: Callable[[str], object | None]) -> bool:
    """Tell whether a request names the token of a task that is being done.

    Args:
        scope: of the request, whose body has not been read yet.
        task_of: returns the task of a token, None if there is none; as Flower's states have it.
    """
    said = [value for name, value in scope["headers"] if name == HEADER.encode("ascii")]
    return len(said) == 1 and task_of(said[0].decode("latin-1")) is not None
