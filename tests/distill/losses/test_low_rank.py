"""A low-rank adapter on the head against the sum of the two weights, differentiated in fp64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses import Divergence, LowRank, SparseTeacher, fused_linear_loss, gemm
from traces.errors import DistillError

N, VOCAB, WIDTH, RANK, SCALE = 23, 61, 12, 3, 1.7


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(0)
    shapes = {"x": (N, WIDTH), "w": (VOCAB, WIDTH), "a": (RANK, WIDTH), "b": (VOCAB, RANK)}
    shapes["bias"] = (VOCAB,)
    return {
        name: torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)
        for name, shape in shapes.items()
    }


def targets() -> Tensor:
    chosen = torch.randint(0, VOCAB, (N,), generator=torch.Generator().manual_seed(1))
    chosen[::4] = -100
    return chosen


def teacher() -> SparseTeacher:
    gen = torch.Generator().manual_seed(2)
    log_q = torch.log_softmax(2 * torch.randn(N, VOCAB, generator=gen, dtype=torch.float64), 1)
    top = log_q.topk(5, 1)
    tail = log_q.scatter(1, top.indices, -torch.inf).logsumexp(1)
    return SparseTeacher(top.indices, top.values, tail)


def gradients(parts: dict[str, Tensor], frozen: tuple[str, ...], loss: Any) -> dict[str, Tensor]:
    leaves = {n: p.clone().requires_grad_(n not in frozen) for n, p in parts.items()}
    value = loss(leaves)
    value.backward()
    return {"loss": value.detach()} | {
        name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None
    }


def fused(**options: Any) -> Any:
    def loss(p: dict[str, Tensor]) -> Tensor:
        adapter = LowRank(p["a"], p["b"], SCALE)
        return fused_linear_loss(
            p["x"], p["w"], targets(), bias=p["bias"], low_rank=adapter, chunk=7, **options
        )

    return loss


def merged(**options: Any) -> Any:
    def loss(p: dict[str, Tensor]) -> Tensor:
        weight = p["w"] + SCALE * p["b"] @ p["a"]
        options["impl"] = "reference"
        return fused_linear_loss(p["x"], weight, targets(), bias=p["bias"], **options)

    return loss


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("frozen", [("w", "bias"), ()], ids=["frozen", "all"])
@pytest.mark.parametrize("kd", [None, Divergence("forward_kl", 0.5), Divergence("jsd", 0.5)])
def test_all_gradients_equal_those_of_the_merged_weight(
    impl: str, frozen: tuple[str, ...], kd: Divergence | None
) -> None:
    options: dict[str, Any] = {"softcap": 6.0, "scale": 0.8, "label_smoothing": 0.1}
    if kd is not None:
        options |= {"kd": kd, "teacher": teacher(), "ce": 0.5}
    got = gradients(make(), frozen, fused(impl=impl, **options))
    want = gradients(make(), frozen, merged(**options))
    assert got.keys() == want.keys() == {"loss", "x", "a", "b", "w", "bias"} - set(frozen)
    for name, part in want.items():
        torch.testing.assert_close(got[name], part, rtol=1e-10, atol=1e-12, msg=name)


def test_a_frozen_head_has_no_full_size_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only weight gradient that is computed has r columns."""
    shapes = []
    plain = gemm.weight_gradient

    def noted(tile: Tensor, hidden: Tensor, out: Tensor, *, first: bool) -> None:
        shapes.append(tuple(out.shape))
        plain(tile, hidden, out, first=first)

    monkeypatch.setattr(gemm, "weight_gradient", noted)
    gradients(make(), ("w", "bias"), fused())
    assert set(shapes) == {(VOCAB, RANK)}


def test_what_goes_into_the_adapter_may_have_been_dropped_out() -> None:
    keep = (torch.rand(N, WIDTH, generator=torch.Generator().manual_seed(3)) > 0.3).double() / 0.7

    def loss(p: dict[str, Tensor]) -> Tensor:
        adapter = LowRank(p["a"], p["b"], SCALE, hidden=p["x"] * keep)
        return fused_linear_loss(p["x"], p["w"], targets(), low_rank=adapter, chunk=7)

    def plain(p: dict[str, Tensor]) -> Tensor:
        logits = p["x"] @ p["w"].T + SCALE * (p["x"] * keep) @ p["a"].T @ p["b"].T
        return torch.nn.functional.cross_entropy(logits, targets(), reduction="sum")

    got, want = (gradients(make(), ("w",), each) for each in (loss, plain))
    for name in ("loss", "x", "a", "b"):
        torch.testing.assert_close(got[name], want[name], rtol=1e-10, atol=1e-12, msg=name)


def test_bf16_head_with_fp32_adapter_costs_no_more_than_rounding() -> None:
    narrow = {name: part.bfloat16() for name, part in make().items()}
    narrow |= {name: narrow[name].float() for name in ("a", "b")}
    exact = {name: part.double() for name, part in narrow.items()}
    got = gradients(narrow, ("w", "bias"), fused())
    want = gradients(exact, ("w", "bias"), merged())
    assert got["a"].dtype == got["b"].dtype == torch.float32
    for name, part in want.items():
        assert (got[name].double() - part).norm() / part.norm() < 2**-7, name


def test_an_adapter_that_does_not_fit_is_named() -> None:
    p = make()
    for a, b in ((p["a"], p["b"][:-1]), (p["a"][:, 1:], p["b"])):
        with pytest.raises(ValueError, match=r"low_rank has a .* needs a \[r, H\] and b \[V, r\]"):
            fused_linear_loss(p["x"], p["w"], targets(), low_rank=LowRank(a, b))
    odd = LowRank(p["a"], p["b"], hidden=p["x"][1:])
    with pytest.raises(ValueError, match=r"low_rank.hidden has shape"):
        fused_linear_loss(p["x"], p["w"], targets(), low_rank=odd)


def test_a_nan_in_the_adapter_is_named() -> None:
    p = make()
    p["b"][4, 1] = torch.nan
    with pytest.raises(DistillError, match=r"low_rank.b\[4, 1\] is nan"):
        fused()(p)
