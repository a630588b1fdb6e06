"""Networks on the meta device: names and shapes, no numbers.

torch infers the effect of some calls there in Python, with functions that import its compiler and
symbolic shapes, which takes a second or two. Building a network needs none of these calls.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Network = TypeVar("Network", bound=nn.Module)

# In place, and without effect on a tensor that has no numbers.
_FILLS = frozenset(
    {
        *(Tensor.add_, Tensor.clamp_, Tensor.div_, Tensor.erfinv_, Tensor.fill_, Tensor.mul_),
        *(Tensor.normal_, Tensor.sub_, Tensor.uniform_, Tensor.zero_),
    }
)


class _Shortcuts(TorchFunctionMode):
    """Leaves out the filling of tensors on meta, and makes tensors like them without inference."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else kwargs.get("tensor")
        if isinstance(first, Tensor) and first.is_meta:
            if func in _FILLS or getattr(func, "__module__", None) == "torch.nn.init":
                return first
            if func is torch.empty_like and kwargs.keys() == {"device"}:
                shape = first.size(), first.stride()
                return torch.empty_strided(*shape, dtype=first.dtype, **kwargs)
        return func(*args, **kwargs)


@contextmanager
def building_on(device: str) -> Iterator[None]:
    """Build networks on a device; on ``meta`` no random numbers are drawn for them."""
    with torch.device(device), _Shortcuts():
        yield


def in_memory(network: Network) -> Network:
    """Give a network from the meta device memory on the CPU, in place; its numbers are undefined.

    Returns:
        The network.
    """
    with _Shortcuts():
        return network.to_empty(device="cpu")
