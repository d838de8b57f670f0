"""Whether the loss kernels are right on this GPU, in one call.

    python benchmarks/gpu_check.py                 # every path, then compute-sanitizer
    python benchmarks/gpu_check.py --device cpu    # the same checks of the torch path, anywhere

First each implementation that runs here against the reference in fp64: every loss, two
temperatures, fp32 and bf16, sparse and dense teachers, twice for the same bits; the CUDA kernels
once more without clusters of blocks, where they have run with them. Then this script under
compute-sanitizer's memcheck and racecheck on small shapes, where that tool is installed (it comes
with the CUDA toolkit). Exit code 1 if anything is wrong, 2 if there is no such device.

Written without a GPU at hand: the checks have run on a CPU, the path to a GPU and to the sanitizer
has not run yet.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args
from unittest import mock

import torch
from torch import Tensor

from distill.losses import (
    DenseTeacher,
    Divergence,
    Scores,
    SparseTeacher,
    cuda_cluster,
    cuda_rows,
    fused_linear_loss,
    score,
)
from distill.losses.kernels import FASTER, unfit
from distill.losses.options import Kind

LIMITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
EVERYTHING = {"label_smoothing": 0.1, "z_loss": 1e-4, "softcap": 30.0, "scale": 0.9}


class Shape(NamedTuple):
    """Rows, vocabulary, width, k."""

    n: int
    vocab: int
    width: int
    k: int


SHAPES = [Shape(300, 50257, 256, 20), Shape(33, 1031, 64, 128), Shape(5, 151936, 64, 1)]
SMALL = [Shape(5, 1031, 32, 33)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="one small shape, no sanitizer")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        print("torch sees no CUDA device; --device cpu checks the torch path")
        return 2
    name = torch.cuda.get_device_name() if args.device != "cpu" else "cpu"
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    found = implementations(args.device)
    wrong = sum(check(impl, args.device, args.small) for impl in found)
    if "cuda" in found:
        wrong += check_one_block(args.device, args.small)
    wrong += check_scores(args.device, args.small)
    if not args.small and args.device != "cpu":
        wrong += sum(sanitize(tool) for tool in ("memcheck", "racecheck"))
    print("wrong:", wrong)
    return min(wrong, 1)


def implementations(device: str) -> list[str]:
    found = ["chunked"]
    for impl in FASTER:
        reason = unfit(impl, device, torch.float32)
        print(f"{impl}: not checked, because {reason}" if reason else f"{impl}: checked")
        found += [] if reason else [impl]
    return found


def check(impl: str, device: str, small: bool) -> int:
    """Compare `impl` with fp64 on every case; prints the worst and returns how many are wrong."""
    worst, wrong, count = 0.0, 0, 0
    for shape in SMALL if small else SHAPES:
        for dtype, limit in LIMITS.items():
            for title, options in cases(shape, device):
                hidden, weight, targets, weights = tensors(shape, device)
                leaves = [hidden.to(dtype), weight.to(dtype)]
                given = {"targets": targets, "token_weights": weights, **options}
                got = gradients(leaves, impl, given)
                again = gradients(leaves, impl, given)
                want = gradients([leaf.double() for leaf in leaves], "reference", given)
                error = max(relative(g, w) for g, w in zip(got, want, strict=True))
                same = all(torch.equal(a, b) for a, b in zip(got, again, strict=True))
                count += 1
                worst = max(worst, error / limit)
                if not error < limit or not same:
                    wrong += 1
                    print(f"WRONG {impl} {shape} {dtype} {title}: {error:.2e}, repeats: {same}")
    print(f"{impl}: {count} cases, {wrong} wrong, worst error {worst:.2f} of its limit")
    return wrong


def check_one_block(device: str, small: bool) -> int:
    """The same for the CUDA kernels with a block to each row, if clusters are what was checked."""
    form = cuda_rows.row_form(max(shape.vocab for shape in SHAPES))
    print("cuda:", form)
    if "cluster of" not in form:
        return 0
    print("cuda again, without clusters")
    with mock.patch.dict(os.environ, {cuda_cluster.SWITCH: "0"}):
        return check("cuda", device, small)


def check_scores(device: str, small: bool) -> int:
    """Compare `score` with fp64; ids may differ only where fp32 cannot tell logits apart."""
    wrong = 0
    for shape in SMALL if small else SHAPES:
        hidden, weight, targets, _ = tensors(shape, device)
        given = {"k": shape.k, "temperatures": (1.0, 2.0), "softcap": 30.0, "ranks": True}
        got, again = (score(hidden, weight, targets, **given) for _ in range(2))
        want = score(hidden.double(), weight.double(), targets, impl="chunked", **given)
        parts = [part for part in Scores._fields if part not in ("ids", "rank")]
        error = max(
            relative(getattr(got, part).nan_to_num(), getattr(want, part).nan_to_num())
            for part in parts
        )
        agreeing = float((got.ids == want.ids).double().mean())
        apart = int((got.rank - want.rank).abs().max())
        same = all(torch.equal(getattr(got, p), getattr(again, p)) for p in ("ids", *parts[1:]))
        same = same and torch.equal(got.rank, again.rank)
        bad = not error < 1e-5 or not same or agreeing < 0.999 or apart > 1 + 1e-4 * shape.vocab
        wrong += bad
        said = f"{error:.2e}, same ids {agreeing:.4f}, ranks within {apart}"
        print(f"{'WRONG ' * bad}score {shape}: {said}")
    return wrong


def cases(shape: Shape, device: str) -> Iterator[tuple[str, dict[str, Any]]]:
    gen = torch.Generator(device).manual_seed(1)
    log_p = torch.log_softmax(
        3 * torch.randn(shape.n, shape.vocab, generator=gen, device=device, dtype=torch.float64), 1
    )
    top = log_p.topk(shape.k, 1)
    tail = log_p.scatter(1, top.indices, -torch.inf).logsumexp(1)
    ids = top.indices.clone()
    ids[1::4, shape.k // 2 + 1 :] = -1
    wide = 2 * shape.width
    resident = [torch.randn(n, wide, generator=gen, device=device) for n in (shape.n, shape.vocab)]
    resident[1] *= wide**-0.5
    yield "ce", {}
    yield "ce with everything", EVERYTHING
    for kind in get_args(Kind):
        for temperature in (1.0, 2.0):
            kd = Divergence(kind, 0.7, temperature)
            sparse = SparseTeacher(ids, top.values, tail, temperature)
            for name, teacher in (("sparse", sparse), ("dense", DenseTeacher(*resident))):
                yield f"{name} {kind} T={temperature}", {"ce": 0.0, "kd": kd, "teacher": teacher}
                more = {**EVERYTHING, "ce": 0.3, "kd": kd, "teacher": teacher}
                yield f"{name} {kind} T={temperature} with everything", more


def tensors(shape: Shape, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gen = torch.Generator(device).manual_seed(0)
    hidden = torch.randn(shape.n, shape.width, generator=gen, device=device)
    weight = torch.randn(shape.vocab, shape.width, generator=gen, device=device)
    targets = torch.randint(0, shape.vocab, (shape.n,), generator=gen, device=device)
    targets[::3] = -100
    weights = torch.rand(shape.n, generator=gen, device=device)
    weights[4] = 0.0
    return hidden, 2 * shape.width**-0.5 * weight, targets, weights


def gradients(leaves: list[Tensor], impl: Any, options: dict[str, Any]) -> list[Tensor]:
    hidden, weight = (leaf.detach().requires_grad_() for leaf in leaves)
    loss = fused_linear_loss(hidden, weight, impl=impl, **options)
    return [loss.detach(), *torch.autograd.grad(loss, [hidden, weight])]


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def sanitize(tool: str) -> int:
    """Run the small checks under compute-sanitizer; 1 if it finds a fault."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print(f"{tool}: not run, compute-sanitizer is not installed")
        return 0
    command = [
        program,
        "--tool",
        tool,
        "--error-exitcode",
        "9",
        sys.executable,
        __file__,
        "--small",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"{tool}: exit code {done.returncode}")
    if done.returncode:
        print(done.stdout[-4000:] + done.stderr[-4000:])
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
