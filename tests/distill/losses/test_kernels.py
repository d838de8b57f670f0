from __future__ import annotations

import pytest
import torch

from distill.losses import cuda_rows, fused_linear_loss, kernels
from traces.errors import DistillError


def test_cuda_is_refused_on_a_cpu_and_says_why() -> None:
    with pytest.raises(DistillError, match="impl is 'cuda', but the tensors are on cpu"):
        fused_linear_loss(torch.zeros(1, 2), torch.zeros(3, 2), torch.tensor([0]), impl="cuda")


def test_what_the_kernels_do_not_know_is_said() -> None:
    assert "float16: the kernels know" in kernels.unfit("cuda", "cuda", torch.float16)


def test_auto_falls_back_where_cuda_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise DistillError("the CUDA driver cannot be loaded")

    monkeypatch.setattr(cuda_rows, "ready", broken)
    kernels._automatic.cache_clear()
    assert kernels.choose("auto", "cuda", torch.bfloat16).name == "chunked"
    assert "driver cannot be loaded" in kernels.unfit("cuda", "cuda", torch.bfloat16)
    kernels._automatic.cache_clear()
