"""The device that a run computes on."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from training.errors import ConfigError


def resolve_device(wanted: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps``: what ``auto`` finds, or the requested one if present.

    torch is imported only if an accelerator is possible on this machine, because its import takes
    seconds.

    Raises:
        ConfigError: the named device is not on this machine.
    """
    if wanted == "cpu":
        return "cpu"
    found = _accelerator()
    if wanted == "auto":
        return found
    if wanted != found:
        raise ConfigError(
            f"device = {wanted!r}: not found on this machine; it has auto and {found}"
        )
    return found


def gpu_totals(device: str) -> tuple[int, ...]:
    """Return the bytes of each GPU that this process sees, in all; none for another device than
    ``cuda``.
    """
    if device != "cuda":
        return ()
    import torch

    properties = torch.cuda.get_device_properties
    return tuple(properties(number).total_memory for number in range(torch.cuda.device_count()))


def use_exact_kernels() -> None:
    """Let CUDA compute float32 in float32, and the same bits every time.

    PyTorch's own settings round the factors of float32 convolutions to TF32 (10 bits of mantissa),
    and allow kernels whose sums depend on the order in which threads finish. Where a layer has no
    other kernel, PyTorch warns and uses it. Attention has others, but not as long as PyTorch only
    warns, so it is computed without `attention_kernels`. ``make gpu-check`` measures the cost.
    """
    import torch

    # cuBLAS sums in a fixed order only with a workspace of its own; read at its first call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    for enable in attention_kernels():
        enable(False)
    # Else every new tensor is filled first, for programs that read what nobody wrote: a step of
    # resnet18 took 11.1 instead of 6.9 ms.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def attention_kernels() -> tuple[Callable[[bool], None], ...]:
    """Return the switches of PyTorch's fused kernels of attention on CUDA."""
    from torch.backends import cuda

    return (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp)


def processor_name() -> str:
    """Return the CPU's model name, or its architecture if it has none."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerator() -> str:
    if sys.platform == "darwin":
        import torch

        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
