"""Chunked against naive at real vocabularies: peak memory and CPU time, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from loss_cases import K, Shape, make, ours
from torch import Tensor
from torch.nn import functional as F

SHAPES = (Shape(2048, 49152, 576), Shape(1536, 151936, 896))


def vocabularies(device: str) -> list[dict[str, Any]]:
    """Rows of both losses at both vocabularies, with the ratio of naive to chunked."""
    if device != "cpu":
        raise SystemExit("--case vocab is for --device cpu")
    found = []
    for shape in SHAPES:
        for kind in ("ce", "forward_kl"):
            chunked, naive = (_in_a_process(name, kind, shape) for name in ("chunked", "naive"))
            row = {
                "loss": kind,
                **shape._asdict(),
                "chunked_bytes": chunked["peak_bytes"],
                "naive_bytes": naive["peak_bytes"],
                "memory_ratio": round(naive["peak_bytes"] / max(chunked["peak_bytes"], 1), 2),
                "chunked_cpu_s": chunked["cpu_s"],
                "naive_cpu_s": naive["cpu_s"],
                "time_ratio": round(naive["cpu_s"] / chunked["cpu_s"], 2),
                "loss_difference": abs(chunked["loss"] - naive["loss"]) / abs(naive["loss"]),
            }
            print(json.dumps(row), flush=True)
            found.append(row)
    return found


def _in_a_process(name: str, kind: str, shape: Shape) -> dict[str, Any]:
    command = [sys.executable, __file__, name, kind, *(str(size) for size in shape)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def naive(kind: str, case: Any) -> Tensor:
    """What one would write: all logits at once, in plain torch."""
    logits = F.linear(case.hidden, case.weight)
    ce = F.cross_entropy(logits, case.targets, reduction="sum")
    if kind == "ce":
        return ce
    log_p = torch.log_softmax(logits, 1)
    inside = log_p.gather(1, case.teacher.ids)
    tail = torch.log1p(-inside.exp().sum(1, keepdim=True).clamp_max(1 - 1e-6))
    log_s = torch.cat([inside, tail], 1)
    log_q = torch.cat([case.teacher.logprobs, case.teacher.log_tail[:, None]], 1)
    return 0.5 * ce + 0.5 * torch.sum(log_q.exp() * (log_q - log_s))


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("no /proc here: memory is measured on Linux only")


def _one(name: str, kind: str, shape: Shape) -> dict[str, Any]:
    """Loss, dX and dW; memory above what the inputs took, gradients included."""
    torch.set_num_threads(1)
    case = make(shape, "peaked", torch.float32, "cpu", resident=False)
    step = ours("chunked", kind) if name == "chunked" else lambda c: naive(kind, c)
    leaves = [part.detach().requires_grad_() for part in case[:2]]
    case = case._replace(hidden=leaves[0], weight=leaves[1])
    Path("/proc/self/clear_refs").write_text("5")
    before = _high_water()
    started = time.process_time()
    loss = step(case)
    gradients = torch.autograd.grad(loss, leaves)
    spent = time.process_time() - started
    assert all(torch.isfinite(part.sum()) for part in gradients)
    found = {"loss": loss.item(), "cpu_s": round(spent, 3), "k": K}
    return {**found, "peak_bytes": _high_water() - before}


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], sys.argv[2], Shape(*(int(n) for n in sys.argv[3:6])))))
