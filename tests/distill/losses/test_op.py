"""The loss as one operator: compiled, checked by torch's own tools, and its backward scaling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses import DenseTeacher, Divergence, SparseTeacher, fused_linear_loss, op
from distill.losses.batch import Head, Rows
from distill.losses.options import LossOptions


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 7, 5, generator=gen).to(dtype).requires_grad_()
    weight = torch.randn(23, 5, generator=gen).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, 23, (2, 7), generator=gen)


def teacher(sparse: bool) -> SparseTeacher | DenseTeacher:
    gen = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 7, 23, generator=gen)
    if not sparse:
        return DenseTeacher(logits, torch.eye(23))
    top = torch.log_softmax(logits, -1).topk(4, -1)
    return SparseTeacher(top.indices, top.values, (1 - top.values.exp().sum(-1)).log())


@pytest.mark.parametrize("sparse", [True, False])
def test_compiling_makes_one_node_and_changes_nothing(sparse: bool) -> None:
    hidden, weight, targets = make()
    kd, taught = Divergence("jsd", 0.5), teacher(sparse)
    graphs: list[torch.fx.GraphModule] = []

    def step(hidden: Tensor, weight: Tensor) -> Tensor:
        states = torch.tanh(hidden)
        return 0.5 * fused_linear_loss(states, weight, targets, ce=0.5, kd=kd, teacher=taught)

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    compiled = torch.compile(step, backend=backend, fullgraph=True)
    got, want = compiled(hidden, weight), step(hidden, weight)
    torch.testing.assert_close(got, want)
    for part, true in zip(
        torch.autograd.grad(got, (hidden, weight)),
        torch.autograd.grad(want, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(part, true)
    target = torch.ops.trace_distill.linear_loss.default
    assert sum(node.target is target for graph in graphs for node in graph.graph.nodes) == 1


def test_the_operator_keeps_the_rules_of_torch() -> None:
    """Schema, fake kernel, autograd registration, and the traced graph against eager."""
    hidden, weight, targets = make()
    flat = hidden.detach().reshape(14, 5).requires_grad_()
    rows = Rows(flat, torch.ones(14), targets.reshape(14))
    kind, numbers = LossOptions(label_smoothing=0.1, z_loss=1e-3).encode()
    call: Any = (rows.hidden, weight, None, None, None, *rows[1:-1], None, None)
    call = (*call, kind, numbers, [True, True, False, False, False], "chunked", 4, 0.0)
    torch.library.opcheck(torch.ops.trace_distill.linear_loss.default, call)


@pytest.mark.parametrize(
    "options",
    [
        LossOptions(),
        LossOptions(0.5, 0.1, 1e-3, 30.0, 0.7, Divergence("skew_kl", 0.5, 2.0, 0.2), 50.0, 2.0),
        LossOptions(kd=Divergence("jsd")),
        LossOptions(kd=Divergence("reverse_kl")),
    ],
)
def test_options_survive_the_operator(options: LossOptions) -> None:
    again = LossOptions.decode(*options.encode())
    assert again.encode() == options.encode()
    assert again.softcap == options.softcap
    assert (again.kd is None) == (options.kd is None)
    if options.kd is not None and again.kd is not None:
        assert (again.kd.kind, again.kd.share) == (options.kd.kind, options.kd.share)


def test_the_upstream_gradient_is_not_rounded_to_bf16() -> None:
    """bf16(1/3) is 0.2 % off: every entry would be."""
    hidden, weight, targets = make(torch.bfloat16)
    rows = Rows(hidden.reshape(14, 5), torch.ones(14), targets.reshape(14))
    loss, _ = op.linear_loss(rows, Head(weight, None), None, LossOptions(), "chunked")
    (whole,) = torch.autograd.grad(loss, hidden, retain_graph=True)
    (third,) = torch.autograd.grad(loss / 3, hidden)
    want = (whole.double() / 3).bfloat16()
    assert (third == want).double().mean() > 0.99


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    hidden, weight, targets = make()
    with torch.no_grad():
        assert not fused_linear_loss(hidden, weight, targets).requires_grad
    loss = fused_linear_loss(hidden.detach(), weight, targets)
    assert torch.autograd.grad(loss, weight)[0].any()
