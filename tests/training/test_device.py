"""The settings that let CUDA repeat its bits; they can be made, and looked at, without a GPU."""

from collections.abc import Iterator

import pytest
import torch
from torch.backends import cuda, cudnn

from training.device import attention_kernels, use_exact_kernels


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's own settings, also afterwards."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    tf32 = cudnn.allow_tf32, cuda.matmul.allow_tf32
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
    cudnn.allow_tf32, cuda.matmul.allow_tf32 = tf32
    for enable in attention_kernels():
        enable(True)


@pytest.mark.usefixtures("own_settings")
def test_attention_has_no_fused_kernels_and_new_tensors_are_not_filled() -> None:
    fused = (cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.cudnn_sdp_enabled)
    assert [enabled() for enabled in fused] == [True, True, True]
    use_exact_kernels()
    assert [enabled() for enabled in fused] == [False, False, False]
    assert cuda.math_sdp_enabled()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert (cudnn.allow_tf32, cuda.matmul.allow_tf32) == (False, False)
