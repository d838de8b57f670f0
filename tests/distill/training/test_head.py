"""The student's head with what PEFT puts around it: trained by our loss, saved as trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from distill.training.head import adapts_head, student_head, untie_head
from distill.training.train import quieten, train_student
from distill.training.trainer import LossOptions, summed_loss
from tests.distill.training.tiny_rows import lora_options, train_options, write_random_rows
from traces.errors import DistillError


@pytest.fixture(autouse=True)
def alone() -> None:
    torch.set_num_threads(1)
    quieten()


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def adapted(folder: Path, *, untied: bool = True, **changes: Any) -> Any:
    """A PEFT model whose adapters are not at their initial zero."""
    model = load(folder)
    if untied:
        untie_head(model)
    options: dict[str, Any] = {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "lm_head"]}
    torch.manual_seed(0)
    wrapped = get_peft_model(model, LoraConfig(**{**options, **changes}, task_type="CAUSAL_LM"))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return wrapped.eval()


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(4, 400, (2, 11), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :5] = -100
    return {"input_ids": ids, "labels": labels}


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "changes",
    [{}, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}],
    ids=["lora", "modules_to_save"],
)
def test_loss_and_gradients_are_those_of_pefts_own_forward(
    changes: dict[str, Any], tiny_model: Path
) -> None:
    model = adapted(tiny_model, **changes)
    base, given = model.get_base_model(), batch()
    loss = summed_loss(base, LossOptions(1.0, "chunked"), dict(given))
    logits = model(input_ids=given["input_ids"]).logits[:, :-1]
    plain = F.cross_entropy(logits.flatten(0, 1), given["labels"][:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)
    found, wanted = gradients(model, loss), gradients(model, plain)
    assert found.keys() == wanted.keys()
    assert any("lm_head" in name for name in found)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_an_adapter_switched_off_or_merged_counts_as_the_weight_it_left(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    base, hidden = model.get_base_model(), torch.randn(3, 64)
    assert student_head(base, hidden).low_rank is not None
    with model.disable_adapter():
        assert student_head(base, hidden).low_rank is None
    before = base.lm_head(hidden)
    model.merge_adapter()
    head = student_head(base, hidden)
    assert head.low_rank is None
    torch.testing.assert_close(F.linear(hidden, head.weight), before, rtol=1e-5, atol=1e-5)


def test_the_padded_vocabulary_is_cut_from_the_adapter_too(tiny_model: Path) -> None:
    head = student_head(adapted(tiny_model).get_base_model(), torch.randn(3, 64), 390)
    assert head.low_rank is not None
    assert len(head.weight) == len(head.low_rank.b) == 390


def test_an_adapter_the_loss_does_not_know_is_refused(tiny_model: Path) -> None:
    model = adapted(tiny_model, use_dora=True)
    with pytest.raises(DistillError, match="the lm_head has an adapter that the loss does not"):
        student_head(model.get_base_model(), torch.randn(3, 64))


@pytest.mark.parametrize(
    ("modules", "adapts"),
    [
        ("all-linear", False),
        (["q_proj"], False),
        (["lm_head"], True),
        (r".*\.q_proj|lm_head", True),
    ],
)
def test_which_target_modules_reach_the_head(modules: Any, adapts: bool, tiny_model: Path) -> None:
    assert adapts_head(load(tiny_model), LoraConfig(target_modules=modules)) == adapts
    assert not adapts_head(load(tiny_model), None)


def test_a_student_with_an_adapter_on_a_tied_head_is_saved_as_it_was_trained(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The head moves, the embedding that it shared does not, and adapter and merged model agree."""
    rows = write_random_rows(tmp_path / "rows.arrow", 12)
    lora = lora_options()._replace(target_modules=["q_proj", "lm_head"])
    train_student(
        rows,
        tmp_path / "out",
        model=str(tiny_model),
        revision="",
        options=train_options(max_steps=3),
        lora=lora,
        loss=LossOptions(1.0, "auto"),
        stopping=lambda: False,
        on_step=lambda step, total, loss: None,
    )
    student, before = load(tmp_path / "out" / "student"), load(tiny_model)
    old = before.get_input_embeddings().weight
    torch.testing.assert_close(student.get_input_embeddings().weight, old, rtol=0, atol=0)
    assert (student.get_output_embeddings().weight - old).abs().max() > 1e-4
    wrapped = adapted_from(before, tmp_path / "out" / "student" / "adapter")
    ids = batch()["input_ids"]
    torch.testing.assert_close(
        student(input_ids=ids).logits, wrapped(input_ids=ids).logits, rtol=1e-4, atol=1e-4
    )


def adapted_from(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).eval()
