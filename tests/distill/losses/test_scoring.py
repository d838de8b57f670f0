from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses import Divergence, SparseTeacher, fused_linear_loss, score, tempered
from traces.errors import DistillError


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)
        for shape in [(2, 5, 8), (53, 8), (53,)]
    )
    return hidden, weight, bias, torch.randint(0, 53, (2, 5), generator=gen)


@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_scores_equal_those_of_the_full_logits(chunk: int | None) -> None:
    hidden, weight, bias, targets = make()
    targets[1, 2] = -100
    got = score(
        hidden,
        weight,
        targets,
        k=4,
        temperatures=(1.0, 2.0),
        bias=bias,
        softcap=4.0,
        scale=0.5,
        chunk=chunk,
    )
    u = 4.0 * torch.tanh(0.5 * (hidden @ weight.T + bias) / 4.0)
    p = torch.softmax(u, -1)
    at = p.gather(-1, targets.clamp_min(0)[..., None]).squeeze(-1).log()
    top, ids = p.topk(4, -1)
    assert got.target[1, 2].isnan()
    counts = targets != -100
    torch.testing.assert_close(got.target[counts], at[counts])
    torch.testing.assert_close(got.entropy, -(p * p.log()).sum(-1))
    assert torch.equal(got.ids, ids)
    torch.testing.assert_close(got.logprobs, top.log())
    torch.testing.assert_close(got.log_tail, (1 - top.sum(-1)).log())
    torch.testing.assert_close(got.lse[..., 0], u.logsumexp(-1))
    torch.testing.assert_close(got.lse[..., 1], (u / 2).logsumexp(-1))


def test_bf16_input_is_scored_in_fp32() -> None:
    hidden, weight, bias, targets = make(torch.bfloat16)
    got = score(hidden, weight, targets, bias=bias)
    want = torch.log_softmax(hidden.double() @ weight.double().T + bias.double(), -1)
    at = want.gather(-1, targets[..., None]).squeeze(-1)
    assert got.target.dtype == torch.float32
    torch.testing.assert_close(got.target.double(), at, rtol=1e-5, atol=1e-5)


def test_the_tail_of_a_confident_row_is_not_rounded_away() -> None:
    logits = torch.tensor([[40.0, 0.0, 1.0]])
    got = score(logits, torch.eye(3), k=1)
    want = torch.logsumexp(torch.tensor([0.0, 1.0]), 0) - 40.0
    torch.testing.assert_close(got.log_tail, want[None])


def test_no_targets_and_no_rows_are_fine() -> None:
    hidden, weight, _, _ = make()
    got = score(hidden, weight, k=2)
    assert got.target.isnan().all()
    assert [tuple(part.shape) for part in score(hidden[:0], weight, k=2)] == [
        (0, 5),
        (0, 5),
        (0, 5, 2),
        (0, 5, 2),
        (0, 5),
        (0, 5, 1),
        (0, 5),
    ]


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize(("softcap", "scale"), [(None, 1.0), (4.0, 0.5), (None, -1.0)])
def test_rank_is_the_place_of_the_target_in_the_sorted_row(
    chunk: int | None, softcap: float | None, scale: float
) -> None:
    hidden, weight, bias, targets = make()
    targets[1, 2] = -100
    options: dict[str, Any] = {"bias": bias, "softcap": softcap, "scale": scale, "chunk": chunk}
    got = score(hidden, weight, targets, ranks=True, **options)
    u = scale * (hidden @ weight.T + bias)
    u = u if softcap is None else softcap * torch.tanh(u / softcap)
    order = u.argsort(dim=-1, descending=True)
    place = (order == targets[..., None]).int().argmax(-1) + 1
    assert torch.equal(got.rank, place.where(targets != -100, 0))
    assert not score(hidden, weight, targets, **options).rank.any()


def test_tokens_of_equal_logits_share_the_best_rank() -> None:
    logits = torch.tensor([[3.0, 3.0, 1.0, 3.0]]).double()
    got = [score(logits, torch.eye(4).double(), torch.tensor([n]), ranks=True) for n in range(4)]
    assert [int(each.rank) for each in got] == [1, 1, 4, 1]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_teacher_stored_from_scores_is_the_teacher(temperature: float) -> None:
    """Score, store, and distil: a student equal to the teacher has nothing to learn."""
    hidden, weight, _, _ = make()
    scores = score(hidden, weight, k=6, temperatures=(1.0, temperature))
    teacher = SparseTeacher(scores.ids, scores.logprobs, scores.log_tail)
    if temperature != 1.0:
        log_partition = scores.lse[..., 1] - scores.lse[..., 0] / temperature
        teacher = tempered(teacher, temperature, log_partition)
    leaf = hidden.clone().requires_grad_()
    kd = Divergence("forward_kl", 1.0, temperature)
    loss = fused_linear_loss(leaf, weight, None, ce=0.0, kd=kd, teacher=teacher)
    assert abs(loss.item()) < 1e-12
    assert torch.autograd.grad(loss, leaf)[0].abs().max() < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 54}, "k is 54; allowed: 0 to 53"),
        ({"targets": torch.full((2, 5), 53)}, "a target is 53; allowed: 0 to 52"),
        ({"weight": torch.zeros(3, 3)}, "do not fit"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_misuse_is_refused(change: dict[str, Any], message: str) -> None:
    hidden, weight, _, _ = make()
    with pytest.raises(ValueError, match=message):
        score(**({"hidden": hidden, "weight": weight} | change))


def test_of_equal_logits_the_lower_id_comes_first() -> None:
    gen = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 4, (6, 53), generator=gen).double()
    got = score(logits, torch.eye(53, dtype=torch.float64), k=20)
    want = logits.sort(dim=1, descending=True, stable=True).indices[:, :20]
    assert torch.equal(got.ids, want)


def test_cuda_is_refused_on_a_cpu_and_says_why() -> None:
    hidden, weight, _, _ = make()
    with pytest.raises(DistillError, match="impl is 'cuda', but the tensors are on cpu"):
        score(hidden, weight, impl="cuda")
