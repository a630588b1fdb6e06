"""The import of torchvision, timm and open_clip without torch's compiler.

The compiler (``torch._dynamo``) takes as long to import as torch itself. It is not needed to
predict, but these libraries import it in two places: ``torchvision.ops.roi_align`` takes a function
of it that is called for detection on a GPU only, and timm marks functions of one architecture as
not to be compiled. While they are imported here, both get a form that imports the compiler when it
is used. torch's optimizers import it in any case, so this saves nothing where a network is trained.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_UTILITIES = "torch._dynamo.utils"


def import_library(name: str) -> Any:
    """Return a module of a library of networks, imported without torch's compiler.

    Args:
        name: such as ``torchvision.models``.
    """
    if name in sys.modules or _UTILITIES in sys.modules:
        return importlib.import_module(name)
    with _late_compiler():
        return importlib.import_module(name)


@contextmanager
def _late_compiler() -> Iterator[None]:
    import torch
    from torch._compile import _disable_dynamo

    stand_in = _StandIn(_UTILITIES)
    disable = torch.compiler.disable
    sys.modules[_UTILITIES] = stand_in
    # torch's own form of the same decorator for what it defines itself.
    torch.compiler.disable = _disable_dynamo  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = disable
        stand_in.leave()


class _StandIn(ModuleType):
    """Stands for a module until something of it is used; then the real one is imported."""

    def is_compile_supported(self, device_type: Any) -> Any:
        """Call the real function."""
        return self._real().is_compile_supported(device_type)

    def leave(self) -> None:
        """Let the next import find the real module."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def _real(self) -> ModuleType:
        self.leave()
        return importlib.import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as `inspect` asks of every module
            raise AttributeError(name)
        return getattr(self._real(), name)
