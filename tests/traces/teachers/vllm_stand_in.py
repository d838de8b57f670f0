"""A module with the documented names and shapes of vLLM, which generates with transformers."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


def make_module() -> ModuleType:
    """`LLM` and `SamplingParams`; `forced`, `reason` and `refuses` change what comes back."""
    module: Any = ModuleType("vllm")
    module.forced, module.reason, module.refuses = None, None, None

    class Engine:
        def __init__(self, model: str, **options: Any) -> None:
            import torch
            from transformers import AutoModelForCausalLM

            torch.set_num_threads(1)
            module.options = options
            self.model = AutoModelForCausalLM.from_pretrained(model)

        def generate(self, prompts: Any, params: Any, use_tqdm: bool = True) -> list[Any]:
            assert use_tqdm is False
            if module.refuses:
                raise ValueError(module.refuses)
            module.params = params
            pairs = zip(prompts, params, strict=True)
            return [self._one(one["prompt_token_ids"], own) for one, own in pairs]

        def _one(self, prompt: list[int], own: dict[str, Any]) -> Any:
            import torch

            ids: list[int] = []
            logprobs = []
            reason = "length"
            while len(ids) < own["max_tokens"]:
                with torch.no_grad():
                    logits = self.model(torch.tensor([[*prompt, *ids]])).logits[0, -1].float()
                values = logits.log_softmax(-1)
                token = int(values.argmax())
                if module.forced is not None:
                    token = module.forced[len(ids)]
                ids.append(token)
                if own["logprobs"]:
                    top = values.topk(own["logprobs"])
                    entry = {
                        int(i): SimpleNamespace(logprob=float(v))
                        for v, i in zip(top.values, top.indices, strict=True)
                    }
                    entry.setdefault(token, SimpleNamespace(logprob=float(values[token])))
                    logprobs.append(entry)
                if token in own["stop_token_ids"]:
                    reason = "stop"
                    break
            completion = SimpleNamespace(
                token_ids=tuple(ids),
                logprobs=logprobs or None,
                finish_reason=module.reason or reason,
            )
            return SimpleNamespace(outputs=[completion])

    module.LLM = Engine
    module.SamplingParams = dict
    return module
