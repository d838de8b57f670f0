"""Two processes with `fully_shard` against one: the same loss and the same gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
from distill.training.head import untie_head
from distill.training.train import quieten
from distill.training.trainer import LossOptions, add_loss

quieten()
ranks = 2
child = os.fork()  # after the imports, which take longer than all that follows
rank = 1 if child else 0
dist.init_process_group(
    "gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=ranks
)
mesh = dist.device_mesh.init_device_mesh("cpu", (ranks,))
generator = torch.Generator().manual_seed(0)
ids = torch.randint(4, 400, (8, 13), generator=generator)
labels = ids.where(torch.rand(8, 13, generator=generator) > 0.3, -100)
tokens = int((labels[:, 1:] != -100).sum())


def make(kind):
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    if kind != "tied":
        untie_head(model)
    if kind == "lora":
        from peft import LoraConfig, get_peft_model
        torch.manual_seed(0)
        config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    base = model.get_base_model() if kind == "lora" else model
    add_loss(base, LossOptions(1.0, "chunked"))
    return model, base


def step(model, rows, steps, scale):
    # Each of `steps` micro-batches adds to the gradients; FSDP takes the mean over the ranks.
    total = 0.0
    for part in rows.split(len(rows) // steps):
        inputs = {"input_ids": ids[part], "labels": labels[part], "use_cache": False}
        loss = model(**inputs, summed_trace_loss=True) * scale / tokens
        loss.backward()
        total += loss.item()
    whole = lambda g: g.full_tensor() if isinstance(g, DTensor) else g
    found = {n: whole(p.grad) for n, p in model.named_parameters() if p.grad is not None}
    return total, found


for kind in ("tied", "untied", "alone", "lora"):
    single, _ = make(kind)
    loss, wanted = step(single, torch.arange(8), 2, 1.0)
    model, base = make(kind)
    for layer in base.model.layers:
        fully_shard(layer, mesh=mesh)
    if kind == "alone":
        fully_shard(base.lm_head, mesh=mesh)  # its own hooks never run: nobody calls it
    fully_shard(model, mesh=mesh)
    sharded = isinstance(base.get_output_embeddings().weight, DTensor)
    own = torch.arange(8)[rank::ranks]
    part, found = step(model, own, 2, float(ranks))
    mean = torch.tensor(part / ranks)
    dist.all_reduce(mean)
    assert sharded, kind
    assert found.keys() == wanted.keys(), kind
    assert abs(mean.item() - loss) < 1e-6 * abs(loss), (kind, mean.item(), loss)
    for name, gradient in wanted.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, (kind, name, float(error))
dist.destroy_process_group()
assert not child or os.waitpid(child, 0)[1] == 0
print("agreed", rank)
"""


@pytest.mark.slow
def test_sharded_parameters_give_the_loss_and_gradients_of_one_process(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Head tied, untied, sharded by itself and with LoRA; two micro-batches added up."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_model), str(tmp_path / "meet")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "agreed 0" in done.stdout
    assert "agreed 1" in done.stdout
