from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill.artifacts import TrainPoint, TrainReport
from distill.dataset import read_rows
from distill.training.checkpoints import last_checkpoint
from distill.training.save import PROBES, check_tokenizer, save_student
from tests.distill.training.test_trainer import mean_loss
from tests.distill.training.tiny_rows import random_rows, train, write_random_rows
from traces.errors import DataError, DistillError, Interrupted
from traces.models.load import load_model

ROOT = Path(__file__).resolve().parents[3]


def log_of(folder: Path) -> list[TrainPoint]:
    lines = (folder / "log.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=TrainPoint) for line in lines]


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (load_file(each / "model.safetensors") for each in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_rows(tmp_path_factory.mktemp("rows") / "rows.arrow", 28, held_out=4)


@pytest.fixture(scope="module")
def trained(
    tiny_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainReport]:
    """Six steps with dropout, not interrupted."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(tiny_model, rows, folder, dropout=0.2)


def test_report_says_what_was_trained(trained: tuple[Path, TrainReport], rows: Path) -> None:
    folder, report = trained
    kept = [row for row, split in read_rows(rows) if split == "train"]
    assert (report.mode, report.loss_impl, report.steps) == ("lora", "chunked", 6)
    assert report.trained_tokens == sum(sum(row.weights) for row in kept)
    adapter = load_file(folder / "student" / "adapter" / "adapter_model.safetensors")
    assert report.trainable_parameters == sum(tensor.numel() for tensor in adapter.values())
    assert report.parameters > report.trainable_parameters
    assert msgspec.json.decode((folder / "report.json").read_bytes(), type=TrainReport) == report


def test_log_has_each_step_once(trained: tuple[Path, TrainReport]) -> None:
    folder, report = trained
    log = log_of(folder)
    assert [point.step for point in log if point.loss is not None] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in log if point.validation_loss is not None] == [3, 6]
    counts = [point.trained_tokens for point in log if point.trained_tokens is not None]
    assert counts[-1] == report.trained_tokens
    assert not list(folder.glob("checkpoints*"))


def test_trained_tokens_where_max_steps_ends_the_run(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    report = train(tiny_model, rows, tmp_path, max_steps=2, epochs=9.0)
    whole = sum(sum(row.weights) for row, split in read_rows(rows) if split == "train")
    assert report.steps == 2
    assert report.trained_tokens == log_of(tmp_path)[1].trained_tokens
    assert whole * 0.2 < report.trained_tokens < whole * 0.5
    assert report.trained_tokens != round(whole / 3)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_stopped_training_goes_on_where_it_was(
    mode: str,
    tiny_model: Path,
    rows: Path,
    trained: tuple[Path, TrainReport],
    tmp_path: Path,
) -> None:
    folder, options = tmp_path / "stopped", {"mode": mode, "dropout": 0.2}
    steps: list[int] = []

    def on_step(step: int, total: int, loss: float | None) -> None:
        steps.append(step)

    with pytest.raises(Interrupted):
        train(tiny_model, rows, folder, stopping=lambda: steps[-1] == 4, on_step=on_step, **options)
    assert not (folder / "student").exists()
    train(tiny_model, rows, folder, on_step=on_step, **options)
    assert steps == [1, 2, 3, 4, 5, 6]
    whole = trained[0]
    if mode == "full":
        whole = tmp_path / "whole"
        train(tiny_model, rows, whole, **options)
    assert log_of(folder) == log_of(whole)
    assert_same_weights(folder / "student", whole / "student")


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.distill.training.tiny_rows import train

def on_step(step, total, loss):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

train(*map(Path, sys.argv[1:]), dropout=0.2, on_step=on_step)
"""


@pytest.mark.exhaustive
def test_killed_training_goes_on_with_the_same_losses(
    tiny_model: Path, rows: Path, trained: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_model), str(rows), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    assert not (tmp_path / "student").exists()
    steps: list[int] = []
    train(tiny_model, rows, tmp_path, dropout=0.2, on_step=lambda step, *_: steps.append(step))
    assert steps == [4, 5, 6]
    assert log_of(tmp_path) == log_of(trained[0])
    assert_same_weights(tmp_path / "student", trained[0] / "student")


def test_checkpoint_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, state in ((3, "{}"), (20, '{"loss": NaN}'), (100, '{"global_step": 1'), (200, "")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-300").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-20"


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_best_checkpoint_is_the_student(
    mode: str, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    # Random rows teach nothing that holds for other rows: the validation loss soon rises.
    options = {"mode": mode, "save_steps": 2, "epochs": 3.0, "learning_rate": 3e-2}
    report = train(tiny_model, rows, tmp_path, **options)
    found = {p.step: p.validation_loss for p in log_of(tmp_path) if p.validation_loss is not None}
    assert len(found) == 9
    assert report.best_step == min(found, key=lambda step: found[step] or 0.0)
    assert report.best_step < report.steps
    held_out = [row for row, split in read_rows(rows) if split == "validation"]
    loss = mean_loss(load(tmp_path / "student"), held_out)
    assert loss == pytest.approx(report.best_validation_loss, abs=1e-5)


def test_student_without_validation_rows_is_the_last_state(
    tiny_model: Path, tmp_path: Path
) -> None:
    rows = write_random_rows(tmp_path / "rows.arrow", 8)
    report = train(tiny_model, rows, tmp_path / "train", epochs=2.0)
    assert (report.best_step, report.best_validation_loss) == (report.steps, None)
    assert report.steps == 4


def test_student_keeps_the_tokenizer_template_and_settings_of_the_base(
    trained: tuple[Path, TrainReport], tiny_model: Path
) -> None:
    student = trained[0] / "student"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (student / name).read_bytes() == (tiny_model / name).read_bytes()
    base, saved = (AutoTokenizer.from_pretrained(each) for each in (tiny_model, student))
    assert all(base(text)["input_ids"] == saved(text)["input_ids"] for text in PROBES)
    for name in ("config.json", "generation_config.json"):
        before, after = (json.loads((each / name).read_text()) for each in (tiny_model, student))
        assert after == before


def test_adapter_on_the_base_is_the_merged_student(
    trained: tuple[Path, TrainReport], tiny_model: Path
) -> None:
    student = trained[0] / "student"
    with_adapter = load_model(str(tiny_model), adapter=str(student / "adapter"))
    ids = torch.tensor([random_rows(1)[0].input_ids])
    with torch.no_grad():
        merged, apart = load(student)(ids).logits, with_adapter(ids).logits
        base = load(tiny_model)(ids).logits
    torch.testing.assert_close(merged, apart, rtol=1e-5, atol=1e-5)
    assert float((merged - base).abs().max()) > 0.01


def test_saved_student_is_the_model_in_memory(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    with torch.no_grad():
        model.model.norm.weight.mul_(1.1)
    save_student(
        model, AutoTokenizer.from_pretrained(tiny_model), tmp_path / "s", str(tiny_model), ""
    )
    ids = torch.tensor([random_rows(1)[0].input_ids])
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "s")(ids).logits, model(ids).logits)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_tokenizer_that_gives_other_ids_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(tmp_path)
    check_tokenizer(tokenizer, tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["pre_tokenizer"] = state["pre_tokenizer"]["pretokenizers"][1]  # no digit splitting
    state["model"]["merges"].append(["1", "2"])
    state["model"]["vocab"]["12"] = 399
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(DistillError, match="gives other token ids"):
        check_tokenizer(tokenizer, tmp_path)


def test_template_that_changed_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(DistillError, match="chat template"):
        check_tokenizer(tokenizer, tmp_path)


def test_rows_that_are_all_held_out_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_random_rows(tmp_path / "rows.arrow", 3, held_out=3)
    with pytest.raises(DataError, match="no training rows"):
        train(tiny_model, rows, tmp_path / "train")
    assert not (tmp_path / "train").exists()
