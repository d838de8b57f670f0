"""Whole trainer steps with a stored teacher: accumulation, parts in the log, bf16, compaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, set_seed
from trl import SFTTrainer

from distill.losses.options import Divergence
from distill.teacher_rows import TeacherRow, TeacherTable, write_teacher
from distill.training.checkpoints import points
from distill.training.teacher import ROW
from distill.training.train import arguments, load_student, peft_config, quieten
from distill.training.trainer import LossOptions, TraceTrainer
from tests.distill.training.test_trainer import assert_close, make_trainer, weights
from tests.distill.training.tiny_rows import lora_options, random_rows, train_options
from tests.tiny_llama import VOCABULARY

KD = LossOptions(0.25, "auto", Divergence("forward_kl", 0.75))


def table(path: Path, count: int, k: int = 5) -> TeacherTable:
    """An invented teacher of each trained token of the random rows; every third row has none."""
    parts = []
    for number, row in enumerate(random_rows(count)):
        start = row.weights.index(1.0)
        n = 0 if number % 3 == 2 else len(row.weights) - start
        gen = torch.Generator().manual_seed(number)
        dense = torch.log_softmax(3 * torch.randn(n, VOCABULARY, generator=gen), -1)
        top = dense.topk(k)
        tail = dense.scatter(1, top.indices, -torch.inf).logsumexp(1)
        arrays = (top.indices.numpy().astype(np.int32), top.values.numpy(), tail.numpy())
        parts.append(TeacherRow(row.key, start, *arrays))
    write_teacher(path, parts, temperature=1.0, vocabulary=VOCABULARY)
    return TeacherTable(path)


def taught_trainer(model: Path, folder: Path, loss: LossOptions, **changes: Any) -> TraceTrainer:
    quieten()
    folder.mkdir()
    options = train_options(**{"save_steps": 1000, "mode": "full", **changes})
    examples = [
        {
            "input_ids": row.input_ids,
            "labels": [t if w else -100 for t, w in zip(row.input_ids, row.weights, strict=True)],
            ROW: number,
        }
        for number, row in enumerate(random_rows(16))
    ]
    set_seed(0)
    return TraceTrainer(
        model=load_student(str(model), "", options),
        args=arguments(folder, options, validated=False, keep_columns=True),
        train_dataset=Dataset.from_list(examples),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=peft_config(options.mode, lora_options()),
        loss=loss,
        teacher=table(folder / "teacher.arrow", 16),
    )


def log(trainer: Any) -> list[dict[str, float]]:
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_accumulated_batches_are_one_batch_and_the_parts_add_up(
    mode: str, tiny_model: Path, tmp_path: Path
) -> None:
    small = {"batch_size": 2, "accumulation": 4, "mode": mode}
    large = {"batch_size": 8, "accumulation": 1, "mode": mode}
    one = taught_trainer(tiny_model, tmp_path / "1", KD, **small)
    two = taught_trainer(tiny_model, tmp_path / "2", KD, **large)
    first, second = log(one), log(two)
    assert len(first) == len(second) == 2
    for entry, other in zip(first, second, strict=True):
        for name in ("loss", "ce_loss", "kd_loss"):
            assert entry[name] == pytest.approx(other[name], rel=1e-5), name
        parts = 0.25 * entry["ce_loss"] + 0.75 * entry["kd_loss"]
        assert entry["loss"] == pytest.approx(parts, rel=1e-5)
    assert first[0]["ce_loss"] != pytest.approx(first[0]["kd_loss"], rel=0.01)
    assert_close(weights(one), weights(two), 1e-5)
    logged = points(one.state.log_history)
    assert [point.kd_loss for point in logged] == [entry["kd_loss"] for entry in first]


def test_compaction_trains_almost_as_the_exact_gradient_and_logs_what_it_left_out(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The untrained student is as good as flat, so most of the mass goes by the rank-1 term."""
    exact = taught_trainer(tiny_model, tmp_path / "1", KD)
    near = taught_trainer(tiny_model, tmp_path / "2", KD._replace(compact_below=5e-2))
    first, second = log(exact), log(near)
    assert "kept_columns" not in first[0]
    assert all(0 < entry["kept_columns"] < 1 for entry in second), second
    assert all(0 < entry["dropped_mass"] < 0.6 for entry in second)
    assert second[0]["loss"] == first[0]["loss"]
    for entry, other in zip(first, second, strict=True):
        assert other["loss"] == pytest.approx(entry["loss"], rel=5e-3)
        assert other["grad_norm"] == pytest.approx(entry["grad_norm"], rel=5e-2)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_bf16_step_is_that_of_trl_within_rounding(
    mode: str, tiny_model: Path, tmp_path: Path
) -> None:
    options = {"mode": mode, "learning_rate": 1e-3, "precision": "bf16", "max_steps": 2}
    theirs = make_trainer(SFTTrainer, tiny_model, tmp_path / "trl", **options)
    ours = make_trainer(TraceTrainer, tiny_model, tmp_path / "own", impl="chunked", **options)
    for entry, other in zip(log(ours), log(theirs), strict=True):
        assert entry["loss"] == pytest.approx(other["loss"], rel=2**-8)
        assert entry["grad_norm"] == pytest.approx(other["grad_norm"], rel=2**-5)
