"""Libraries of networks are imported without torch's compiler, and find it when they need it."""

import subprocess
import sys
from types import ModuleType

import pytest

from models.network_libraries import _StandIn

IMPORTS = """
import sys
import torch
from models.network_libraries import import_library
disable = torch.compiler.disable
for name in ("torchvision.models", "timm", "open_clip"):
    assert import_library(name) is sys.modules[name]
print(sorted({"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()))
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
import torch._dynamo.utils
assert asked == torch._dynamo.utils.is_compile_supported("cpu")
assert isinstance(torch._dynamo.utils.counters, dict)
assert torch.compiler.disable is disable
"""


def test_the_compiler_is_imported_when_it_is_asked() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_a_stand_in_gives_way_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is imported from it meanwhile is the module's own."""
    name = "xml.sax.expatreader"  # any that nobody here uses
    monkeypatch.delitem(sys.modules, name, raising=False)
    stand_in = _StandIn(name)
    monkeypatch.setitem(sys.modules, name, stand_in)
    assert not hasattr(stand_in, "__file__")
    assert sys.modules[name] is stand_in, "as inspect looks at every module"
    found: ModuleType = stand_in.ExpatParser
    assert sys.modules[name] is not stand_in
    assert found is sys.modules[name].ExpatParser
    stand_in.leave()
    assert name in sys.modules
