"""The lm_head losses side by side: error against fp64, time, and memory above the inputs.

    python benchmarks/losses.py --device cpu                        # a small check, anywhere
    python benchmarks/losses.py --device cpu --case vocab           # memory and time at real sizes
    python benchmarks/losses.py --device cuda --shapes full --output benchmarks/results/h100.jsonl

One line of JSON per provider, loss, shape and regime; the last line is one object with all of them,
the machine, the versions and the date. Providers take turns within a round, the median of the
rounds counts (CUDA events on a GPU). Floors are bare matrix products: G3 is what every exact loss
needs, G4 what it needs with a resident teacher of twice the width, G1 what scoring needs. Peers
that cannot run here are listed with the reason, and so is a provider that fails.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from loss_cases import (
    BELOW,
    FLOORS,
    KINDS,
    REGIMES,
    Case,
    Shape,
    Step,
    first_rows,
    floor,
    make,
    ours,
    precise,
)
from loss_peers import peers
from loss_vocab import vocabularies
from torch import Tensor

from distill.losses.kernels import KERNELS, implementation

SMALL = "256,16384,192"
FULL = [
    f"{rows},{shape}"
    for shape in ("151936,1536", "151936,2048", "152064,3584", "151936,5120", "248320,2048")
    for rows in (8192, 16384, 32768)
]
EXACT_LIMIT = 2**27  # logits; beyond that the fp64 comparison takes the first rows only


def providers(device: str, dtype: torch.dtype) -> tuple[dict[str, Step], dict[str, str]]:
    """What runs here, as `provider/kind`, and why the others do not."""
    steps = {name: floor(name) for name in ("G3", "G4", "G1")}
    found, absent = peers(device)
    for kind in KINDS[:-1]:
        for impl in ("reference", *KERNELS):
            try:
                implementation(impl, device, dtype)
            except Exception as error:  # a provider that cannot start is a result
                absent[f"{impl}/{kind}"] = str(error).splitlines()[0]
                continue
            steps[f"{impl}/{kind}"] = ours(impl, kind)  # type: ignore[arg-type]
    for kind in ("ce", "forward_kl"):
        steps[f"compacted/{kind}"] = ours("auto", kind, BELOW)
    steps["ours/score"] = ours("auto", "score")
    return steps | found, absent


def gradients(case: Case, step: Step) -> list[Tensor]:
    """Loss, dX and dW."""
    leaves = [part.detach().requires_grad_() for part in case[:2]]
    loss = step(case._replace(hidden=leaves[0], weight=leaves[1]))
    if not loss.requires_grad:
        return [loss]
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [loss.detach(), *(torch.zeros(()) if part is None else part for part in found)]


def errors(case: Case, name: str, step: Step) -> dict[str, float]:
    """Relative error of loss, dX and dW against the reference in fp64, on the first rows."""
    kind = name.partition("/")[2]
    if not kind:
        return {}
    case = first_rows(case, max(1, min(len(case.hidden), EXACT_LIMIT // len(case.weight))))
    want, got = gradients(precise(case), ours("reference", kind)), gradients(case, step)
    return {
        label: float((part.double() - true).norm() / true.norm().clamp_min(1e-300))
        for label, part, true in zip(("loss", "dX", "dW"), got, want, strict=False)
    }


def seconds(case: Case, step: Step) -> float:
    """Wall time of loss and gradients on a GPU, CPU time on a CPU."""
    if case.hidden.is_cuda:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        gradients(case, step)
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000
    started = time.process_time()
    gradients(case, step)
    return time.process_time() - started


def peak_bytes(case: Case, step: Step) -> int | None:
    """Most memory in use above the inputs, gradients included; None where it cannot be told."""
    if case.hidden.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        gradients(case, step)
        return torch.cuda.max_memory_allocated() - before
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    clear.write_text("5")  # the peak starts over from what is resident now
    before = _resident("VmRSS")
    gradients(case, step)
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(field)


def repeatable(case: Case, step: Step) -> bool:
    pairs = zip(gradients(case, step), gradients(case, step), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def warmed(case: Case, steps: dict[str, Step]) -> tuple[dict[str, Step], dict[str, str]]:
    """The steps that ran once, and what was wrong with the others."""
    good, failed = {}, {}
    for name, step in steps.items():
        try:
            seconds(case, step)
        except Exception as error:  # a peer that fails on a shape is a result
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        else:
            good[name] = step
    return good, failed


def measure(case: Case, steps: dict[str, Step], rounds: int) -> list[dict[str, Any]]:
    """One row per step; each round runs them all once."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(case, step))
    spent = {name: statistics.median(each) for name, each in times.items()}
    results = []
    for name, step in steps.items():
        base = FLOORS.get(name.partition("/")[2], "G3") if "/" in name else name
        row = {
            "provider": name,
            "seconds": round(spent[name], 6),
            "floor": base,
            "over_floor": round(spent[name] / max(spent[base], 1e-9), 3),
            "peak_bytes": peak_bytes(case, step),
            "error": errors(case, name, step),
            "repeatable": repeatable(case, step),
        }
        results.append(row)
    return results


def machine(cuda: bool) -> dict[str, Any]:
    """Device, clocks and versions."""
    found: dict[str, Any] = {"device": platform.machine(), "threads": torch.get_num_threads()}
    if cuda:
        query = "clocks.sm,clocks.max.sm,clocks.mem,power.limit,driver_version"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        found |= {"device": torch.cuda.get_device_name(), query: said, "cuda": torch.version.cuda}
    packages = ("torch", "triton", "trl", "liger-kernel", "cut-cross-entropy", "quack-kernels")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {**found, "versions": versions, "date": datetime.date.today().isoformat()}


def compare(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All providers on all shapes and regimes asked for."""
    cuda = args.device == "cuda"
    dtype = getattr(torch, args.dtype or ("bfloat16" if cuda else "float32"))
    shapes = {"small": [SMALL], "full": FULL}.get(args.shapes, args.shapes.split(";"))
    rows = []
    for each in shapes:
        shape = Shape(*(int(part) for part in each.split(",")))
        for regime in REGIMES if args.regime == "all" else [args.regime]:
            case = make(shape, regime, dtype, args.device)
            steps, absent = providers(args.device, dtype)
            steps, failed = warmed(case, steps)
            found = measure(case, steps, args.rounds or (20 if cuda else 3))
            reasons = {**absent, **failed}
            found += [{"provider": name, "absent": why} for name, why in reasons.items()]
            where = {**shape._asdict(), "regime": regime, "dtype": str(dtype).split(".")[1]}
            for row in found:
                rows.append({**row, **where})
                print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--case", choices=["compare", "vocab"], default="compare")
    parser.add_argument("--shapes", default="small", help="small, full, or rows,vocab,width;...")
    parser.add_argument("--regime", choices=[*REGIMES, "all"], default="all")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, help="3 on a CPU, 20 on a GPU")
    parser.add_argument("--output", type=Path, help="also write the lines to this file")
    args = parser.parse_args()
    rows = vocabularies(args.device) if args.case == "vocab" else compare(args)
    summary = {"benchmark": "losses", "case": args.case, **machine(args.device == "cuda")}
    if args.output:
        args.output.parent.mkdir(exist_ok=True)
        args.output.write_text("".join(json.dumps({**summary, **row}) + "\n" for row in rows))
    print(json.dumps({**summary, "regimes": REGIMES, "results": rows}))


if __name__ == "__main__":
    main()
