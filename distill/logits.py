"""What a model does to its raw logits before the softmax, read from its configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")


class LogitOptions(NamedTuple):
    """`softcap` (Gemma 2) and `scale` (Cohere, Granite...), as `fused_linear_loss` takes them."""

    softcap: float | None
    scale: float


def logit_options(config: Any) -> LogitOptions:
    """The options of a transformers configuration; of its text part where it has several.

    Granite and MiniCPM3 divide by `logits_scaling`, HyperCLOVA X multiplies by it. A factor of None
    is none.
    """
    text = config.get_text_config()
    softcap = getattr(text, "final_logit_softcapping", None)
    for name in _FACTORS:
        factor = getattr(text, name, None)
        if factor is not None:
            return LogitOptions(softcap, float(factor))
    scaling = getattr(text, "logits_scaling", None)
    if scaling is None:
        return LogitOptions(softcap, 1.0)
    return LogitOptions(softcap, scaling if text.model_type == "hyperclovax" else 1.0 / scaling)
