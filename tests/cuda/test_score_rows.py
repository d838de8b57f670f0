"""`cuda/score_rows.cu`, run on the CPU, against torch in fp64."""

from __future__ import annotations

import ctypes

import pytest
import torch
from torch import Tensor

from distill.losses.cuda_args import padded_tile
from distill.losses.cuda_score import Outputs, ScoreArgs, score_args


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(
    kernels: ctypes.CDLL,
    logits: Tensor,
    targets: Tensor,
    k: int,
    temperatures: tuple[float, ...] = (1.0,),
    softcap: float | None = None,
    scale: float = 1.0,
    *,
    threads: int = 32,
    order: int = 0,
) -> Outputs:
    n, vocab = logits.shape
    tile = padded_tile(n, vocab, torch.float32, torch.device("cpu")).copy_(logits)
    args, out = score_args(tile, targets, k, temperatures, softcap, scale)
    count = len(temperatures)
    kernels.run_score_rows(ctypes.byref(args), count, ctypes.c_longlong(n), threads, order)
    assert torch.equal(tile, logits)
    return out


def agree(got: Outputs, u: Tensor, targets: Tensor, temperatures: tuple[float, ...]) -> None:
    """Compare with capped logits `u` in fp64; the order of equal ones is that of their columns."""
    k = got.ids.shape[1]
    log_p = torch.log_softmax(u, 1)
    order = u.sort(dim=1, descending=True, stable=True).indices
    tail = log_p.scatter(1, order[:, :k], -torch.inf).logsumexp(1)
    at = log_p.gather(1, targets.clamp_min(0)[:, None]).squeeze(1)
    at = at.masked_fill(targets < 0, torch.nan)
    entropy = -(log_p.exp() * log_p).sum(1)
    lse = torch.stack([torch.logsumexp(u / t, 1) for t in temperatures], 1)
    assert torch.equal(got.ids, order[:, :k])
    wants = [at, entropy, order[:, :k], log_p.gather(1, order[:, :k]), tail, lse]
    for part, want in zip(got, wants, strict=True):
        torch.testing.assert_close(
            part.double(), want.double(), rtol=4e-6, atol=4e-6, equal_nan=True
        )


def make(n: int, vocab: int) -> tuple[Tensor, Tensor]:
    """Row 0 rises, so that every stretch replaces the pool; row 1 falls; row 2 has no target."""
    gen = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, vocab, generator=gen)
    logits[0] = logits[0].sort().values
    logits[1] = logits[1].sort(descending=True).values
    targets = torch.randint(0, vocab, (n,), generator=gen)
    targets[2] = -100
    return logits, targets


def test_the_arguments_have_the_same_size_on_both_sides(kernels: ctypes.CDLL) -> None:
    assert kernels.score_args_size() == ctypes.sizeof(ScoreArgs)


@pytest.mark.parametrize("k", [0, 1, 2, 20, 127, 128])
def test_any_k(kernels: ctypes.CDLL, k: int) -> None:
    logits, targets = make(3, 301)
    agree(run(kernels, logits, targets, k), logits.double(), targets, (1.0,))


@pytest.mark.parametrize("vocab", [3, 5, 127, 129, 9001])
def test_odd_vocabularies(kernels: ctypes.CDLL, vocab: int) -> None:
    """With 9001 columns the pool is emptied several times in the row that rises."""
    logits, targets = make(3, vocab)
    agree(run(kernels, logits, targets, 3), logits.double(), targets, (1.0,))


@pytest.mark.parametrize("temperatures", [(1.0,), (2.0, 0.5), (1.0, 1.5, 2.0, 4.0)])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_temperatures_and_softcap(
    kernels: ctypes.CDLL, softcap: float | None, temperatures: tuple[float, ...]
) -> None:
    logits, targets = make(4, 301)
    got = run(kernels, logits, targets, 7, temperatures, softcap, -0.8)
    u = -0.8 * logits.double()
    u = u if softcap is None else softcap * torch.tanh(u / softcap)
    agree(got, u, targets, temperatures)


@pytest.mark.parametrize("threads", [32, 96, 512])
def test_ties_go_to_the_lower_column_in_every_order_of_threads(
    kernels: ctypes.CDLL, threads: int
) -> None:
    gen = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 4, (3, 4999), generator=gen).float()
    targets = torch.tensor([0, 17, 4998])
    first = run(kernels, logits, targets, 100, threads=threads)
    agree(first, logits.double(), targets, (1.0,))
    for order in (1, 2):
        again = run(kernels, logits, targets, 100, threads=threads, order=order)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_tail_of_a_confident_row_is_not_rounded_away(kernels: ctypes.CDLL) -> None:
    logits = torch.tensor([[40.0, 0.0, 1.0]])
    got = run(kernels, logits, torch.tensor([0]), 1)
    want = torch.logsumexp(torch.tensor([0.0, 1.0]), 0) - 40.0
    torch.testing.assert_close(got.log_tail, want[None])
    assert 0 < got.entropy.item() < 1e-14
