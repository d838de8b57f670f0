"""The CUDA path on a real GPU against the reference in fp64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distill.losses import Divergence, SparseTeacher, fused_linear_loss
from distill.losses.cuda_cluster import SWITCH
from distill.losses.options import Kind

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("clusters", ["0", "1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(
    "kind", [None, "forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl"]
)
def test_loss_and_gradients(
    kind: Kind | None,
    temperature: float,
    dtype: torch.dtype,
    clusters: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SWITCH, clusters)
    gen = torch.Generator("cuda").manual_seed(0)
    n, vocab, width, k = 300, 50257, 256, 20

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=gen, device="cuda", dtype=torch.float64)

    hidden, weight = normal(n, width).to(dtype), (0.1 * normal(vocab, width)).to(dtype)
    targets = torch.randint(0, vocab, (n,), generator=gen, device="cuda")
    targets[::3] = -100
    log_p = torch.log_softmax(3 * normal(n, vocab) / temperature, 1)
    top = log_p.topk(k, 1)
    tail = log_p.scatter(1, top.indices, -torch.inf).logsumexp(1)
    kd = Divergence(kind, 0.5, temperature) if kind else None
    options: dict[str, Any] = {"ce": 0.5, "label_smoothing": 0.1, "z_loss": 1e-4, "softcap": 30.0}

    def gradients(impl: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [part.detach().to(dtype).requires_grad_() for part in (hidden, weight)]
        x, w = leaves
        teacher = SparseTeacher(top.indices, top.values, tail, temperature) if kd else None
        loss = fused_linear_loss(
            x, w, targets, kd=kd, teacher=teacher, impl=impl, chunk=128, **options
        )
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    got, again = gradients("cuda", dtype), gradients("cuda", dtype)
    want = gradients("reference", torch.float64)
    limit = 1e-5 if dtype == torch.float32 else 1e-2
    for part, repeated, true in zip(got, again, want, strict=True):
        assert torch.equal(part, repeated)
        assert (part.double() - true).norm() / true.norm() < limit
