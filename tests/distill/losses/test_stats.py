"""What the loss says it is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distill.losses import Divergence, LossStats, SparseTeacher, fused_linear_loss


def call(stats: LossStats | None = None, **options: Any) -> torch.Tensor:
    gen = torch.Generator().manual_seed(0)
    hidden = torch.randn(9, 5, generator=gen, dtype=torch.float64)
    weight = torch.randn(31, 5, generator=gen, dtype=torch.float64)
    log_q = torch.log_softmax(torch.randn(9, 31, generator=gen, dtype=torch.float64), 1)
    top = log_q.topk(4, 1)
    tail = log_q.scatter(1, top.indices, -torch.inf).logsumexp(1)
    teacher = SparseTeacher(top.indices, top.values, tail) if "kd" in options else None
    targets = torch.randint(0, 31, (9,), generator=gen)
    targets[2] = -100
    return fused_linear_loss(hidden, weight, targets, teacher=teacher, stats=stats, **options)


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_the_parts_are_the_losses_by_themselves_and_add_up_over_calls(impl: Any) -> None:
    kd, stats = Divergence("jsd", 0.7), LossStats()
    options: dict[str, Any] = {"ce": 0.3, "kd": kd, "impl": impl, "chunk": 4}
    whole = call(stats, **options) + call(stats, **options)
    ce, divergence = call(ce=0.3, impl=impl), call(ce=0.0, kd=kd, impl=impl)
    found = stats.take()
    assert found.ce == pytest.approx(2 * ce.item(), rel=1e-12)
    assert found.kd == pytest.approx(2 * divergence.item(), rel=1e-12)
    assert found.ce + found.kd == pytest.approx(whole.item(), rel=1e-12)
    assert found[2:] == (0.0, 0.0, 0.0, 0.0)
    assert stats.take() == (0.0,) * 6


def test_collecting_changes_nothing_and_compiles_in_one_graph() -> None:
    hidden, weight, stats = torch.randn(9, 5), torch.randn(31, 5), LossStats()
    targets = torch.arange(9)

    def step(collector: LossStats | None) -> torch.Tensor:
        return fused_linear_loss(hidden, weight, targets, stats=collector)

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    want = step(None)
    assert compiled(stats) == want
    assert stats.take().ce == pytest.approx(want.item(), rel=1e-6)
