from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig

from distill.logits import LogitOptions, logit_options
from distill.training.train import quieten
from distill.training.trainer import LossOptions, summed_loss

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (Gemma2Config(**SHAPE, final_logit_softcapping=3.0), LogitOptions(3.0, 1.0)),
        (CohereConfig(**SHAPE, logit_scale=0.25), LogitOptions(None, 0.25)),
        (GraniteConfig(**SHAPE, logits_scaling=8.0), LogitOptions(None, 0.125)),
    ],
    ids=["gemma2", "cohere", "granite"],
)
def test_the_loss_is_that_of_the_models_own_logits(config: Any, options: LogitOptions) -> None:
    quieten()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(40.0)
    assert logit_options(config) == options
    ids = torch.randint(3, 97, (2, 9))
    logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
    want = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum")
    given = {"input_ids": ids, "labels": ids.clone()}
    got = summed_loss(model, LossOptions(1.0, "auto"), given)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
