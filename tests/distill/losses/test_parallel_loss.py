"""A vocabulary split over two processes against one that is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from distill.losses import VocabShard, vocab_parallel_loss

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from distill.losses import (
    Divergence, SparseTeacher, VocabShard, fused_linear_loss, vocab_parallel_loss
)
from traces.errors import DistillError

torch.set_num_threads(1)
rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
N, V, H, K, CUT = 19, 131, 16, 6, 90
gen = torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64)
hidden, weight, bias, weights = normal(N, H), normal(V, H), normal(V), normal(N).abs()
targets = torch.randint(0, V, (N,), generator=gen)
targets[::5] = -100
weights[3] = 0.0
log_p = torch.log_softmax(normal(N, V), 1)
top = log_p.topk(K, 1)
ids = top.indices.clone()
ids[2, 3:] = -1
targets[4] = ids[4, 1]
ids[6] = torch.arange(CUT, CUT + K)     # all of them on the second rank
tail = log_p.scatter(1, top.indices, -torch.inf).logsumexp(1)
mine = slice(0, CUT) if rank == 0 else slice(CUT, V)
shard = VocabShard(dist.group.WORLD, mine.start, V)
everything = {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 4.0, "scale": 1.3}
cases = [{}, everything, {"ce": 0.0, "kd": Divergence("reverse_kl", 0.5)}]
kinds = ["forward_kl", "jsd", "skew_kl", "skew_reverse_kl"]
cases += [{"ce": 0.5, "kd": Divergence(kind, 0.7, 1.0 + i % 2)} for i, kind in enumerate(kinds)]
cases += [{**everything, "kd": Divergence("jsd", 0.7, 2.0)}]

for dtype, limit in ((torch.float64, 1e-13), (torch.float32, 2e-6), (torch.bfloat16, 1e-2)):
    for case in cases:
        case = dict(case)
        if "kd" in case:
            T = case["kd"].temperature
            case["teacher"] = SparseTeacher(ids, top.values, tail, T)
        leaves = [part.to(dtype).requires_grad_() for part in (hidden, weight, bias)]
        exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
        whole = fused_linear_loss(
            *exact[:2], targets, token_weights=weights, bias=exact[2], impl="reference", **case
        )
        part = [leaves[0], leaves[1][mine], leaves[2][mine]]
        loss = vocab_parallel_loss(
            part[0], part[1], targets, shard, token_weights=weights, bias=part[2], chunk=7, **case
        )
        want = torch.autograd.grad(3 * whole, exact)
        got = torch.autograd.grad(3 * loss, leaves)
        assert (loss.double() - whole).abs() / whole.abs() < limit, (dtype, case)
        for g, w in zip(got, [want[0], want[1], want[2]]):
            here = w.clone()
            if g.shape[0] == V:
                here = torch.zeros_like(w)
                here[mine] = w[mine]
            assert (g.double() - here).norm() / here.norm() < limit, (dtype, case)
        other = [torch.empty_like(loss) for _ in range(2)]
        dist.all_gather(other, loss.detach())
        assert torch.equal(*other)

nothing = vocab_parallel_loss(
    leaves[0], leaves[1][mine], torch.full((N,), -100), shard, bias=leaves[2][mine]
)
assert nothing == 0 and not torch.autograd.grad(nothing, leaves[0])[0].any()
try:
    vocab_parallel_loss(leaves[0], leaves[1][mine], targets, shard, impl="cuda")
except DistillError as error:
    assert "needs whole rows" in str(error)
try:
    vocab_parallel_loss(leaves[0], leaves[1][mine], targets + V, shard)
except ValueError as error:
    assert "allowed: 0 to 130" in str(error)
print("equal", rank)
"""


@pytest.mark.exhaustive
def test_two_ranks_learn_what_one_does(tmp_path: Path) -> None:
    """fp64 to 1e-13, fp32 to its rounding, bf16 to that of dX and dW; the same loss on both."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "meet"), str(rank)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(ranks):
        output, _ = process.communicate(timeout=120)
        assert f"equal {rank}" in output, output


def test_a_shard_beyond_the_vocabulary_is_refused() -> None:
    shard = VocabShard(dist.GroupMember.NON_GROUP_MEMBER, 3, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="starts at 3 and holds 4 rows of a vocabulary of 5"):
        vocab_parallel_loss(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([0]), shard)
