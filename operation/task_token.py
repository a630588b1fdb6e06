"""Recognising requests to Flower's Runtime API that come from a process with a running task."""

from collections.abc import Callable

from starlette.types import Scope

HEADER = "flwr-task-token"  # Flower's name for it


def names_task(scope: Scope, task_of: Callable[[str], object | None]) -> bool:
    """Return whether a request has the token of a running task.

    Args:
        scope: the scope of the request, whose body has not been read yet.
        task_of: returns the task of a token, None if there is none, as in Flower's states.
    """
    said = [value for name, value in scope["headers"] if name == HEADER.encode("ascii")]
    return len(said) == 1 and task_of(said[0].decode("latin-1")) is not None
