"""The student's lm_head as the loss takes it, with whatever PEFT has put around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer, check_target_module_exists
from torch import Tensor

from distill.losses.low_rank import LowRank
from traces.errors import DistillError


class StudentHead(NamedTuple):
    """`weight` [V, H], `bias` [V] or None, and the adapter on them or None."""

    weight: Tensor
    bias: Tensor | None
    low_rank: LowRank | None


def student_head(model: Any, hidden: Tensor, vocabulary: int | None = None) -> StudentHead:
    """The head of `model` for `hidden` [..., H], cut to `vocabulary` rows if that is given.

    A copy that PEFT trains whole (`modules_to_save`) is taken in place of the original.

    Raises:
        DistillError: an adapter other than plain LoRA is on the head.
    """
    module = model.get_output_embeddings()
    weight, bias = module.weight, getattr(module, "bias", None)
    low_rank = _adapter(module, hidden)
    if vocabulary is not None and vocabulary < weight.shape[0]:
        weight, bias = weight[:vocabulary], None if bias is None else bias[:vocabulary]
        low_rank = low_rank and low_rank._replace(b=low_rank.b[:vocabulary])
    return StudentHead(weight, bias, low_rank)


def _adapter(module: Any, hidden: Tensor) -> LowRank | None:
    """The LoRA on `module`; dropout is drawn anew for each call, as in PEFT's own forward."""
    if not isinstance(module, BaseTunerLayer) or module.disable_adapters or module.merged:
        return None
    names = [name for name in module.active_adapters if name in getattr(module, "lora_A", {})]
    plain = isinstance(module, LoraLayer) and len(names) == 1
    if not plain or names[0] in module.lora_variant or module.lora_bias.get(names[0]):
        raise DistillError(
            f"the lm_head has an adapter that the loss does not know ({type(module).__name__})",
            "one plain LoRA adapter may be on it (no DoRA, no bias); or leave lm_head out",
        )
    (name,) = names
    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    dropout = module.lora_dropout[name]
    dropped = None if isinstance(dropout, torch.nn.Identity) else dropout(hidden)
    return LowRank(a, b, module.scaling[name], dropped)


def adapts_head(model: Any, config: LoraConfig | None) -> bool:
    """Whether adapters of `config` will be put on the lm_head; `all-linear` leaves it out."""
    if config is None or config.target_modules in (None, "all-linear"):
        return False
    head = model.get_output_embeddings()
    names = (name for name, module in model.named_modules() if module is head)
    return any(check_target_module_exists(config, name) for name in names)


def untie_head(model: Any) -> None:
    """Give the lm_head a weight of its own where it shares the embedding's.

    Merging an adapter into a shared weight would change the embedding too, which was not trained.
    """
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), head.weight.requires_grad)
    model.config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}  # what transformers leaves out when it saves


@contextmanager
def adapter_out_of_sight(model: Any) -> Iterator[None]:
    """Hide an adapter on the head from TRL, whose own loss would not train it; ours does."""
    plain = model.get_output_embeddings

    def unwrapped() -> Any:
        return getattr(plain(), "base_layer", plain())

    model.get_output_embeddings = unwrapped
    try:
        yield
    finally:
        del model.get_output_embeddings
