"""Train the student on the rows of a run: LoRA, QLoRA or all weights, resumable at any moment."""

from __future__ import annotations

import copy
import os
import resource
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, set_seed
from trl import SFTConfig

from distill.artifacts import TrainReport
from distill.dataset import read_rows
from distill.run import write_struct
from distill.teacher_rows import TeacherTable
from distill.training.checkpoints import LogAndStop, last_checkpoint, points
from distill.training.head import adapts_head, untie_head
from distill.training.order import Order, arranged, sampling_strategy
from distill.training.save import save_student
from distill.training.teacher import ROW
from distill.training.trainer import LossOptions, TraceTrainer, trained_tokens
from traces.errors import DataError, Interrupted
from traces.models.load import load_model, load_tokenizer, model_dtype


class LoraOptions(NamedTuple):
    """Low-rank adapters; `target_modules` as PEFT takes them."""

    rank: int
    alpha: int
    dropout: float
    target_modules: str | list[str]


class TrainOptions(NamedTuple):
    """How the student learns; the recipe's `train` section says what each field means."""

    mode: str
    learning_rate: float
    epochs: float
    max_steps: int | None
    batch_size: int
    accumulation: int
    warmup_share: float
    schedule: str
    weight_decay: float
    max_grad_norm: float
    precision: str
    gradient_checkpointing: bool
    save_steps: int
    seed: int
    attention: str
    order: Order = "random"


def train_student(
    rows: Path,
    folder: Path,
    *,
    model: str,
    revision: str,
    options: TrainOptions,
    lora: LoraOptions,
    loss: LossOptions,
    stopping: Callable[[], bool],
    on_step: Callable[[int, int, float | None], None],
    pass_rates: Mapping[str, float] = MappingProxyType({}),
) -> TrainReport:
    """Train on `rows` (Arrow) and write `student/`, `log.jsonl` and `report.json` into `folder`.

    `pass_rates` of the rows' traces are for the order `easy_first`.

    Goes on from the last whole checkpoint, with the same losses as an uninterrupted run. The
    checkpoint with the lowest validation loss is the one saved, or the last where no rows are held
    out. Checkpoints are removed once the student is written.

    Raises:
        DataError: there are no training rows.
        Interrupted: `stopping()` turned true; a checkpoint is saved.
    """
    quieten()
    started = time.monotonic()
    teacher = TeacherTable(rows.with_name("teacher.arrow")) if loss.kd else None
    sides = load_rows(rows, taught=teacher is not None, order=options.order, pass_rates=pass_rates)
    tokenizer = load_tokenizer(model, revision)
    set_seed(options.seed)
    student = load_student(model, revision, options)
    adapters = peft_config(options.mode, lora)
    if adapts_head(student, adapters):
        untie_head(student)
    use_cache = student.config.use_cache
    log = LogAndStop(folder / "log.jsonl", stopping, on_step)
    trainer = TraceTrainer(
        model=student,
        args=arguments(
            folder / "checkpoints",
            options,
            validated=bool(sides["validation"]),
            keep_columns=teacher is not None,
        ),
        train_dataset=Dataset.from_list(sides["train"]),
        eval_dataset=Dataset.from_list(sides["validation"]) if sides["validation"] else None,
        # TRL sets a padding token on it; the student's own must stay as it is.
        processing_class=copy.deepcopy(tokenizer),
        peft_config=adapters,
        callbacks=[log],
        loss=loss,
        teacher=teacher,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder / "checkpoints")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if log.stopped:
        raise Interrupted("training stopped; the last checkpoint is saved", "run it again")
    student.config.use_cache = use_cache  # the trainer turned it off, for good
    counted = parameter_counts(trainer.model)
    if trainer.accelerator.is_main_process:
        trained = trainer.accelerator.unwrap_model(trainer.model)
        save_student(trained, tokenizer, folder / "student", model, revision)
    report = make_report(trainer, options, counted, time.monotonic() - started)
    write_struct(folder / "report.json", report)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return report


def quieten() -> None:
    """Silence what the libraries print about themselves."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("WANDB_DISABLED", "true")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft|accelerate)\b")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()


def load_rows(
    path: Path,
    *,
    taught: bool = False,
    order: Order = "random",
    pass_rates: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, list[dict[str, Any]]]:
    """Rows by split, as `input_ids` and `labels` (-100 where the weight is 0), in their `order`.

    Where they are `taught`, each has its number in the file too: that of its teacher's row.

    Raises:
        DataError: no row is for training.
    """
    sides: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for number, (row, split) in arranged(enumerate(read_rows(path)), order, pass_rates):
        labels = [
            token if weight > 0 else -100
            for token, weight in zip(row.input_ids, row.weights, strict=True)
        ]
        own = {ROW: number} if taught else {}
        sides[split].append({"input_ids": row.input_ids, "labels": labels, **own})
    if not sides["train"]:
        raise DataError(f"{path} holds no training rows", "lower train.validation_share")
    return sides


def load_student(model: str, revision: str, options: TrainOptions) -> Any:
    """The model to train. All weights train in fp32 under autocast; a frozen base keeps bf16."""
    full = options.mode == "full"
    return load_model(
        model,
        revision=revision,
        dtype="fp32" if full else options.precision,
        attention=options.attention,
        quantise=options.mode == "qlora",
    )


def arguments(
    folder: Path, options: TrainOptions, *, validated: bool, keep_columns: bool = False
) -> SFTConfig:
    """The trainer's arguments. Everything TRL would decide silently is decided here.

    `keep_columns` hands columns that TRL does not know to the collator.
    """
    bf16 = model_dtype(options.precision) is torch.bfloat16
    steps = {"save_steps": options.save_steps, "eval_steps": options.save_steps}
    return SFTConfig(
        output_dir=str(folder),
        learning_rate=options.learning_rate,
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        warmup_steps=options.warmup_share,
        lr_scheduler_type=options.schedule,
        weight_decay=options.weight_decay,
        adam_beta2=0.95,
        max_grad_norm=options.max_grad_norm,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=options.gradient_checkpointing,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="steps",
        eval_strategy="steps" if validated else "no",
        **steps,
        save_total_limit=2,
        load_best_model_at_end=validated,
        metric_for_best_model="eval_loss" if validated else None,
        greater_is_better=False if validated else None,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=not keep_columns,
        seed=options.seed,
        data_seed=options.seed,
        train_sampling_strategy=sampling_strategy(options.order),
    )


def peft_config(mode: str, lora: LoraOptions) -> LoraConfig | None:
    """Adapters for LoRA and QLoRA; none for training all weights."""
    if mode == "full":
        return None
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )


def parameter_counts(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters."""
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def make_report(
    trainer: TraceTrainer,
    options: TrainOptions,
    counted: tuple[int, int],
    seconds: float,
) -> TrainReport:
    """What was trained, from the trainer's own state."""
    state = trainer.state
    validated = [p for p in points(state.log_history) if p.validation_loss is not None]
    best = min(validated, key=lambda p: p.validation_loss or 0.0, default=None)
    return TrainReport(
        mode=options.mode,
        loss_impl=trainer.loss_used,
        steps=state.global_step,
        best_step=best.step if best else state.global_step,
        best_validation_loss=best.validation_loss if best else None,
        trained_tokens=trained_tokens(state.log_history),
        trainable_parameters=counted[0],
        parameters=counted[1],
        seconds=round(seconds, 1),
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
