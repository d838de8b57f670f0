"""TRL's SFTTrainer with our loss: the one place that touches its internals.

The base model's `forward` gets a private keyword. With it, the backbone runs and the *sum* of our
loss comes back, so the logits of all positions never exist. The wrapped model is what gets called,
never the backbone alone, or DDP and FSDP would be bypassed; the sum is divided by the number of
trained tokens in the whole accumulated batch, which keeps accumulation exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from trl import SFTTrainer

from distill.logits import logit_options
from distill.losses.kernels import implementation
from distill.losses.linear import fused_linear_loss
from distill.losses.options import Divergence, Impl
from distill.losses.stats import LossStats
from distill.teacher_rows import TeacherTable
from distill.training.head import adapter_out_of_sight, student_head
from distill.training.teacher import TeacherCollator, pop_teacher


class LossOptions(NamedTuple):
    """`ce` weighs cross-entropy on the trace, `kd` is the divergence from its stored teacher.

    `impl` and `compact_below` are passed to `fused_linear_loss`.
    """

    ce: float
    impl: Impl
    kd: Divergence | None = None
    compact_below: float = 0.0


def summed_loss(
    model: Any,
    options: LossOptions,
    inputs: dict[str, Any],
    vocabulary: int | None = None,
    stats: LossStats | None = None,
) -> Tensor:
    """The loss summed over the trained tokens of `input_ids` [B, T], as a scalar.

    The hidden state at position t is scored against the label at t + 1, and against what the
    teacher says of that token; labels of -100 do not count. Logits beyond `vocabulary`, which are
    padding of the head, are cut off before the softmax. `stats` collects what it is made of.
    """
    labels_BT = inputs.pop("labels")
    kd = options.kd
    teacher = pop_teacher(inputs, kd.temperature) if kd else None
    hidden_BTH = model.get_decoder()(**inputs).last_hidden_state[:, :-1]
    head = student_head(model, hidden_BTH, vocabulary)
    return fused_linear_loss(
        hidden_BTH,
        head.weight,
        labels_BT[:, 1:],
        ce=options.ce,
        kd=kd,
        teacher=teacher,
        bias=head.bias,
        low_rank=head.low_rank,
        **logit_options(model.config)._asdict(),
        impl=options.impl,
        compact_below=options.compact_below if torch.is_grad_enabled() else 0.0,
        stats=stats,
    )


def add_loss(
    model: Any, options: LossOptions, vocabulary: int | None = None, stats: LossStats | None = None
) -> None:
    """Let `model.forward(..., summed_trace_loss=True)` return the loss of `summed_loss`.

    `stats` collects from the calls with gradients only.
    """
    plain_forward = model.forward

    def forward(*args: Any, summed_trace_loss: bool = False, **kwargs: Any) -> Any:
        if not summed_trace_loss:
            return plain_forward(*args, **kwargs)
        counted = stats if torch.is_grad_enabled() else None
        return summed_loss(model, options, kwargs, vocabulary, counted)

    model.forward = forward


class TraceTrainer(SFTTrainer):
    """SFTTrainer over pre-tokenised rows (`input_ids`, `labels`) with the loss of this project.

    Every line of its log that has a loss has `trained_tokens` too: how many there were until then.
    The log is part of each checkpoint, so a resumed run goes on counting. Where there is a
    divergence, `ce_loss` and `kd_loss` are the means of both without their factors, and with
    compaction `kept_columns` and `dropped_mass` are the shares of both. With a divergence in the
    `loss`, each row names its row in `teacher`, and the trainer's `remove_unused_columns` is off.
    """

    def __init__(
        self, *args: Any, loss: LossOptions, teacher: TeacherTable | None = None, **kwargs: Any
    ) -> None:
        with adapter_out_of_sight(_base(kwargs["model"])):
            super().__init__(*args, **kwargs)
        base = _base(self.model)
        self._loss, self._stats = loss, LossStats()
        add_loss(base, loss, teacher.vocabulary if teacher else None, self._stats)
        if teacher is not None:
            self.data_collator: Any = TeacherCollator(self.data_collator, teacher)
        weight = base.get_output_embeddings().weight
        self.loss_used = implementation(loss.impl, weight.device.type, weight.dtype)
        self._not_logged = 0

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of one step, and how many tokens of them are trained on all processes."""
        batches, count = super().get_batch_samples(*args, **kwargs)
        self._not_logged += int(count or 0)
        return batches, count

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the count of trained tokens and the parts of the loss beside it."""
        if "loss" in logs:
            logs["trained_tokens"] = trained_tokens(self.state.log_history) + self._not_logged
            logs |= self._parts(self._not_logged)
            self._not_logged = 0
        super().log(logs, *args, **kwargs)

    def _parts(self, tokens: int) -> dict[str, float]:
        """What the loss of the last `tokens` trained tokens, on all processes, was made of."""
        loss, found = self._loss, self._stats.take()
        if loss.kd is None and not loss.compact_below:
            return {}
        device = self.args.device
        summed = self.accelerator.reduce(torch.tensor(found, device=device), reduction="sum")
        ce, kd, kept, columns, dropped, mass = summed.tolist()
        parts = {}
        if loss.kd is not None:
            parts = {"kd_loss": kd / loss.kd.weight / max(tokens, 1)}
            if loss.ce:
                parts["ce_loss"] = ce / loss.ce / max(tokens, 1)
        if loss.compact_below:
            parts |= {"kept_columns": kept / max(columns, 1), "dropped_mass": dropped / (mass or 1)}
        return parts

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean loss over the trained tokens of the accumulated batch, on all processes."""
        inputs = {**inputs, "use_cache": False}
        total = model(**inputs, summed_trace_loss=True)
        if num_items_in_batch is None:
            return total / (inputs["labels"][:, 1:] != -100).sum().clamp_min(1)
        # Rows in which nothing is trained may be all there is in a batch.
        loss = total / torch.as_tensor(num_items_in_batch).clamp_min(1)
        if self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return loss

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """The mean loss over all trained tokens of the validation rows, exact at any batch size."""
        model = self.model_wrapped
        was_training = model.training
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                inputs = {**self._prepare_inputs(batch), "use_cache": False}
                inputs["labels"] = self._without_repeats(inputs["labels"])
                sums[1] += (inputs["labels"][:, 1:] != -100).sum()
                sums[0] += model(**inputs, summed_trace_loss=True)
        sums = self.accelerator.reduce(sums, reduction="sum")
        model.train(was_training)
        metrics = {f"{metric_key_prefix}_loss": float(sums[0] / sums[1].clamp_min(1))}
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _without_repeats(self, labels_BT: Tensor) -> Tensor:
        """Labels without those of rows that only fill up the last batch of several processes."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return labels_BT
        own = max(0, state.remainder - self.accelerator.process_index * len(labels_BT))
        return torch.cat([labels_BT[:own], torch.full_like(labels_BT[own:], -100)])


def _base(model: Any) -> Any:
    """The model without PEFT's wrapper."""
    return getattr(model, "get_base_model", lambda: model)()


def trained_tokens(history: Sequence[Mapping[str, Any]]) -> int:
    """The count in the last line of a log that has one, else 0."""
    counts = (entry["trained_tokens"] for entry in reversed(history) if "trained_tokens" in entry)
    return int(next(counts, 0))
