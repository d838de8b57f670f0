"""Gradients without most of their columns: what is kept, what is left, and how far off it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses import (
    DenseTeacher,
    Divergence,
    LossStats,
    LowRank,
    SparseTeacher,
    fused_linear_loss,
)
from distill.losses.compaction import compact

N, VOCAB, WIDTH = 60, 4001, 24
BELOW = 2.0**-10


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Rows whose tails are alike, with Zipf's law as prior, and which are unsure of their target.

    So it is with a trained model: what is likely anywhere is likely everywhere.
    """
    gen = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCAB, WIDTH, generator=gen, dtype=torch.float64) / WIDTH**0.5
    hidden = 0.5 * torch.randn(N, WIDTH, generator=gen, dtype=torch.float64)
    weight[:, 0] = -1.3 * torch.arange(1, VOCAB + 1).log()
    hidden[:, 0] = 1.0
    targets = torch.multinomial(torch.softmax(hidden @ weight.T, 1), 1, generator=gen).squeeze(1)
    hidden[:, 1:] += 5 * torch.rand(N, 1, generator=gen) * weight[targets, 1:]
    targets[::7] = -100
    return hidden.to(dtype), weight.to(dtype), targets


def teacher(k: int = 8) -> SparseTeacher:
    hidden, weight, _ = make()
    gen = torch.Generator().manual_seed(1)
    logits = hidden @ weight.T + 0.3 * torch.randn(N, VOCAB, generator=gen, dtype=torch.float64)
    log_q = torch.log_softmax(logits, 1)
    top = log_q.topk(k, 1)
    return SparseTeacher(
        top.indices, top.values, log_q.scatter(1, top.indices, -torch.inf).logsumexp(1)
    )


def gradients(dtype: torch.dtype = torch.float64, **options: Any) -> list[Tensor]:
    hidden, weight, targets = make(dtype)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    loss = fused_linear_loss(hidden, weight, targets, **options)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def off(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


LOSSES: list[dict[str, Any]] = [
    {},
    {"kd": Divergence("forward_kl"), "ce": 0.0},
    {"kd": Divergence("jsd", 0.5), "ce": 0.5},
]


@pytest.mark.parametrize("options", LOSSES, ids=["ce", "forward_kl", "ce+jsd"])
@pytest.mark.parametrize("chunk", [13, 60])
def test_the_loss_is_exact_and_the_gradients_are_close(options: dict[str, Any], chunk: int) -> None:
    if "kd" in options:
        options = {**options, "teacher": teacher()}
    stats = LossStats()
    want = gradients(**options)
    got = gradients(chunk=chunk, compact_below=BELOW, stats=stats, **options)
    found = stats.take()
    assert found.kept_columns < 0.3 * found.columns
    assert found.dropped_mass > 0.02 * found.mass
    torch.testing.assert_close(got[0], want[0], rtol=1e-12, atol=0)
    assert off(got[1], want[1]) < 6e-3
    assert off(got[2], want[2]) < 6e-3


def test_the_correction_is_worth_having() -> None:
    """Without the rank-1 term the same columns are several times as far off."""
    hidden, weight, targets = make()
    rows = (targets != -100).nonzero().squeeze(1)
    hidden, targets = hidden[rows], targets[rows]
    dz = torch.softmax(hidden @ weight.T, 1)
    dz[torch.arange(len(rows)), targets] -= 1.0
    found, _ = compact(dz, BELOW, torch.float64)
    assert found is not None
    want = dz @ weight
    bare = found.kept[:, :-1] @ weight[found.columns]
    whole = bare + found.kept[:, -1:] * (found.share @ weight)
    assert off(whole, want) < 0.35 * off(bare, want)


def test_rows_keep_their_sums_and_dropped_columns_are_below_the_threshold() -> None:
    gen = torch.Generator().manual_seed(0)
    gradient = 1e-4 * torch.randn(9, 1000, generator=gen, dtype=torch.float64)
    gradient[:, 7:900:99] = 0.5
    found, account = compact(gradient, 2e-3, torch.float64)
    assert found is not None
    assert set(range(7, 900, 99)) <= set(found.columns.tolist())
    assert len(found.columns) == 124  # ten, and the next largest up to 125 less the correction's
    torch.testing.assert_close(found.kept.sum(1), gradient.sum(1))
    assert found.share.sum() == pytest.approx(1.0)
    assert not found.share[found.columns].any()
    kept, columns, dropped, total = account.tolist()
    assert (kept, columns) == (124, 1000)
    outside = torch.ones(1000, dtype=torch.bool).index_fill(0, found.columns, False)
    assert dropped == pytest.approx(gradient[:, outside].abs().sum().item())
    assert total == pytest.approx(gradient.abs().sum().item())


@pytest.mark.parametrize("options", [{"compact_below": 1e-9}, {"compact_below": BELOW, "chunk": 1}])
def test_where_more_than_half_stays_the_gradient_is_exact(options: dict[str, Any]) -> None:
    """No column is below 1e-9; and a chunk of one row keeps few, with an error like the others."""
    stats = LossStats()
    got, want = gradients(stats=stats, **options), gradients()
    found = stats.take()
    limit = 1e-12 if found.kept_columns == found.columns else 6e-3
    assert (limit < 1e-11) == (options["compact_below"] == 1e-9)
    assert max(off(g, w) for g, w in zip(got, want, strict=True)) < limit


def test_a_low_rank_adapter_and_bias_get_theirs_too() -> None:
    gen = torch.Generator().manual_seed(2)
    a = torch.randn(2, WIDTH, generator=gen, dtype=torch.float64)
    b = 0.1 * torch.randn(VOCAB, 2, generator=gen, dtype=torch.float64)
    bias = 0.1 * torch.randn(VOCAB, generator=gen, dtype=torch.float64)
    hidden, weight, targets = make()
    leaves = [part.requires_grad_() for part in (hidden, a, b, bias)]

    def run(**options: Any) -> tuple[Tensor, ...]:
        loss = fused_linear_loss(
            hidden, weight, targets, bias=bias, low_rank=LowRank(a, b), chunk=20, **options
        )
        return torch.autograd.grad(loss, leaves)

    got, want = run(compact_below=BELOW), run()
    assert off(got[0], want[0]) < 1e-2
    assert off(got[1], want[1]) < 6e-2  # a random b: what it takes from the tail cancels
    assert off(got[2], want[2]) < 1e-2
    torch.testing.assert_close(got[3], want[3])


def test_bf16_adds_its_rounding_and_repeats_bit_by_bit() -> None:
    first, second = (gradients(torch.bfloat16, compact_below=BELOW) for _ in range(2))
    want = gradients()
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert off(first[1], want[1]) < 3e-2
    assert off(first[2], want[2]) < 3e-2


def test_what_knows_no_compaction_says_so() -> None:
    dense = DenseTeacher(make()[0], make()[1])
    for options, message in (
        ({"impl": "reference"}, r"compact_below is 0.1, but impl 'reference' knows no compaction"),
        ({"kd": Divergence(), "teacher": dense}, r"compact_below is 0.1, but a DenseTeacher knows"),
        ({"compact_below": -1.0}, r"compact_below is -1.0; allowed: 0 \(exact\) to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            gradients(**{"compact_below": 0.1, **options})


def test_where_no_row_counts_all_is_zero() -> None:
    hidden, weight, targets = make()
    b = torch.ones(VOCAB, 2, dtype=torch.float64)
    a = torch.ones(2, WIDTH, dtype=torch.float64)
    leaves = [part.requires_grad_() for part in (hidden, weight, a, b)]
    loss = fused_linear_loss(
        hidden,
        weight,
        torch.full_like(targets, -100),
        ce=0.5,
        kd=Divergence("jsd"),
        teacher=teacher(),
        low_rank=LowRank(a, b),
        compact_below=BELOW,
    )
    assert loss == 0.0
    assert not any(part.any() for part in torch.autograd.grad(loss, leaves))
