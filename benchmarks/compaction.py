"""Column compaction on a real model over real text: columns kept, and the gradients' error.

    python benchmarks/compaction.py --output benchmarks/results/compaction-smollm2-135m.jsonl

SmolLM2-135M-Instruct (the built-in one, dequantised from Q4_1) reads CPython's language reference
(`pydoc_data.topics`, part of the standard library). The student sees each token with at most 127
tokens before it. The losses: cross-entropy on the text; forward KL from the top 20 of the same
model with up to 511 tokens before it, a teacher that the student is near to; and half of each. The
gradients by the hidden states and by the head of each run, in fp32, are compared with the exact
ones in fp64; `bf16_logits_dX` is the error of exact gradients made from logits rounded to bf16, for
scale. One JSON line per run, the last line one object with all of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import pydoc_data.topics as topics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distill.losses import Divergence, LossStats, SparseTeacher, fused_linear_loss, score
from distill.losses.batch import Rows
from distill.losses.options import LossOptions
from distill.losses.rows import row_losses_
from traces.models.load import load_model, load_tokenizer

MODEL = "smollm2-135m-instruct"
LONG, SHORT, K = 512, 128, 20
LOSSES: dict[str, tuple[float, Divergence | None]] = {
    "ce": (1.0, None),
    "forward_kl": (0.0, Divergence("forward_kl")),
    "ce+forward_kl": (0.5, Divergence("forward_kl", 0.5)),
}


class Text(NamedTuple):
    """N tokens as the student sees them, its head, and what the teacher says of each."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    teacher: SparseTeacher


@torch.no_grad()
def read_text(tokens: int) -> Text:
    text = "\n\n".join(topics.topics[name] for name in sorted(topics.topics))
    ids = load_tokenizer(MODEL)(text[: tokens * 8])["input_ids"][: tokens + 1]
    assert len(ids) == tokens + 1
    model = load_model(MODEL, dtype="fp32")
    given, targets = torch.tensor(ids[:-1]), torch.tensor(ids[1:])
    states = {}
    for width in (LONG, SHORT):
        windows = given.view(-1, width)
        found = [model.get_decoder()(part[None]).last_hidden_state[0] for part in windows]
        states[width] = torch.cat(found)
    weight = model.get_output_embeddings().weight.detach()
    said = score(states[LONG], weight, k=K)
    return Text(states[SHORT], weight, targets, SparseTeacher(*said[2:5]))


def gradients(text: Text, name: str, dtype: torch.dtype, **options: Any) -> list[Tensor]:
    """dX and dW of the mean loss over the tokens."""
    leaves = [part.to(dtype).requires_grad_() for part in text[:2]]
    ce, kd = LOSSES[name]
    teacher = text.teacher if kd else None
    loss = fused_linear_loss(
        *leaves, text.targets, ce=ce, kd=kd, teacher=teacher, impl="chunked", **options
    )
    return list(torch.autograd.grad(loss / len(text.targets), leaves))


@torch.no_grad()
def from_bf16_logits(text: Text, name: str) -> Tensor:
    """dX in fp32, but from logits that were rounded to bf16."""
    ce, kd = LOSSES[name]
    parts = []
    for start in range(0, len(text.targets), 256):
        at = slice(start, start + 256)
        tile = (text.hidden[at] @ text.weight.T).bfloat16().float()
        weights = torch.full((len(tile),), 1 / len(text.targets))
        said = [part[at] for part in text.teacher[:3]] if kd else [None, None, None]
        rows = Rows(text.hidden[at], weights, text.targets[at] if ce else None, *said)
        row_losses_(tile, rows, LossOptions(ce=ce, kd=kd))
        parts.append(tile @ text.weight)
    return torch.cat(parts)


def off(got: Tensor, want: Tensor) -> float:
    return round(float((got.double() - want).norm() / want.norm()), 7)


def measure(text: Text, chunks: list[int], thresholds: list[int]) -> list[dict[str, Any]]:
    found = []
    for name in LOSSES:
        want = gradients(text, name, torch.float64, chunk=256)
        rounded = off(from_bf16_logits(text, name), want[0])
        for chunk in chunks:
            for power in thresholds:
                stats, started = LossStats(), time.process_time()
                got = gradients(
                    text, name, torch.float32, chunk=chunk, compact_below=2.0**-power, stats=stats
                )
                spent, left = time.process_time() - started, stats.take()
                row = {
                    "loss": name,
                    "chunk": chunk,
                    "threshold": f"2^-{power}",
                    "kept_columns": round(left.kept_columns / left.columns, 4),
                    "dropped_mass": round(left.dropped_mass / left.mass, 5),
                    "dX": off(got[0], want[0]),
                    "dW": off(got[1], want[1]),
                    "bf16_logits_dX": rounded,
                    "cpu_seconds": round(spent, 1),
                }
                print(json.dumps(row), flush=True)
                found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048, help="a multiple of 512")
    parser.add_argument("--chunks", default="256,512,2048")
    parser.add_argument("--thresholds", default="12,10", help="powers of 1/2")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    chunks, thresholds = (
        [int(n) for n in each.split(",")] for each in (args.chunks, args.thresholds)
    )
    rows = measure(read_text(args.tokens), chunks, thresholds)
    summary = {
        "benchmark": "compaction",
        "model": MODEL,
        "text": "pydoc_data.topics of Python " + platform.python_version(),
        "tokens": args.tokens,
        "date": datetime.date.today().isoformat(),
        "device": f"{platform.machine()} CPU, 1 thread",
        "torch": torch.__version__,
    }
    print(json.dumps({**summary, "results": rows}))
    if args.output:
        args.output.parent.mkdir(exist_ok=True)
        args.output.write_text("".join(json.dumps({**summary, **row}) + "\n" for row in rows))


if __name__ == "__main__":
    main()
