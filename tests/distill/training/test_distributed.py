"""Two processes against one: the same losses, the same weights, the same validation loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from distill.training.trainer import TraceTrainer
from tests.distill.training.test_trainer import make_trainer, weights

model, folder, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
found = {}
for mode in ("full", "lora"):
    trainer = make_trainer(
        TraceTrainer, model, folder / mode, impl="chunked", mode=mode, learning_rate=1e-3,
        batch_size=batch, accumulation=2, rows=24, held_out=7,
    )
    trainer.train()
    found[mode] = {
        "log": [
            {name: entry[name] for name in ("loss", "eval_loss", "trained_tokens") if name in entry}
            for entry in trainer.state.log_history if "loss" in entry or "eval_loss" in entry
        ],
        "weights": {name: w.double().norm().item() for name, w in weights(trainer).items()},
    }
if trainer.accelerator.is_main_process:
    (folder / "found.json").write_text(json.dumps(found))
"""


def train(model: Path, folder: Path, processes: int, batch: int) -> dict[str, dict[str, object]]:
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [sys.executable, *launcher, str(folder / "script.py"), str(model), str(folder), str(batch)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, object]] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_processes_train_as_one(tiny_model: Path, tmp_path: Path) -> None:
    one = train(tiny_model, tmp_path / "one", processes=1, batch=4)
    two = train(tiny_model, tmp_path / "two", processes=2, batch=2)
    for mode in ("full", "lora"):
        first, second = one[mode], two[mode]
        assert isinstance(first["log"], list)
        assert isinstance(second["log"], list)
        assert len(first["log"]) == len(second["log"]) == 4
        for expected, found in zip(first["log"], second["log"], strict=True):
            assert found == pytest.approx(expected, abs=1e-5), mode
        assert second["weights"] == pytest.approx(first["weights"], rel=1e-5), mode
