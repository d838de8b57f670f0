"""A model in vLLM's offline engine, in this process, as a teacher.

The same weights are the same teacher as in transformers: records and keys are those of
`LocalTeacher`, and a harvest goes on in either engine. vLLM is imported when the engine starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from traces.errors import MissingDependencyError, TeacherError
from traces.logprobs import TopArrays
from traces.models.load import end_of_turn_id, first_line, render_prompt
from traces.record import Message, Trace
from traces.teachers.local import LocalTeacher
from traces.teachers.protocol import Request


class Finished(NamedTuple):
    """One completion in the terms of `traces.models.generate`: `ids` without the end of turn."""

    ids: list[int]
    ended: bool
    logprobs: TopArrays | None


class VllmTeacher(LocalTeacher):
    """As `LocalTeacher`, with `engine` passed on to `vllm.LLM`.

    Args:
        model: A folder or hub id.
        engine: Such as `tensor_parallel_size` or `max_model_len`; no part of the record.
        name, revision, made_of, batch_size, context, licence: As `LocalTeacher`.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str = "",
        revision: str = "",
        made_of: str = "",
        batch_size: int = 256,
        context: tuple[Message, ...] = (),
        licence: str = "",
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            model,
            name=name,
            revision=revision,
            made_of=made_of,
            batch_size=batch_size,
            context=context,
            licence=licence,
        )
        self._options = dict(engine or {})
        self.record = msgspec.structs.replace(self.record, server="vllm, in process")

    def check(self) -> None:
        """Look whether vLLM is there and the template renders a prompt; nothing is loaded.

        Raises:
            MissingDependencyError: vLLM is not installed.
        """
        import_vllm()
        super().check()

    def loaded(self) -> Any:
        """The engine, started once.

        Raises:
            TeacherError: it does not start with these options.
        """
        if self._loaded is None:
            vllm = import_vllm()
            options: dict[str, Any] = {"max_logprobs": 128, **self._options}
            if self.revision:
                options["revision"] = self.revision
            try:
                self._loaded = vllm.LLM(model=self.model, **options)
            except (ValueError, TypeError, RuntimeError, OSError) as error:
                raise TeacherError(
                    f"vLLM does not start with {self.model!r}: {first_line(error)}",
                    "see teacher.engine; max_model_len and gpu_memory_utilization are the usual "
                    "ones",
                ) from error
        return self._loaded

    def _answer_batch(self, batch: list[Request], emit: Callable[[Trace], None]) -> None:
        vllm, engine = import_vllm(), self.loaded()
        prompts = [render_prompt(self.tokenizer, request.messages) for request in batch]
        started = time.time_ns() // 1000
        try:
            outputs = engine.generate(
                [{"prompt_token_ids": ids} for ids in prompts],
                [self._params(vllm, request) for request in batch],
                use_tqdm=False,
            )
        except ValueError as error:  # a prompt that does not fit, or a parameter it does not take
            raise TeacherError(
                f"vLLM refuses: {first_line(error)}", "lower max_tokens or raise max_model_len"
            ) from error
        for request, ids, output in zip(batch, prompts, outputs, strict=True):
            completion = output.outputs[0]
            trace = self._trace(request, len(ids), self._finished(request, completion), started)
            if completion.finish_reason not in ("stop", "length"):
                reason = f"vLLM ended it: {completion.finish_reason}"
                trace = msgspec.structs.replace(trace, status="cancelled", error=reason)
            emit(trace)

    def _params(self, vllm: Any, request: Request) -> Any:
        sampling = request.sampling
        return vllm.SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            logprobs=sampling.top_logprobs or None,
            stop_token_ids=[end_of_turn_id(self.tokenizer)],
            skip_special_tokens=False,
            **sampling.extra,
        )

    def _finished(self, request: Request, completion: Any) -> Finished:
        """The ids end with the token that stopped the model, which a trace does not hold."""
        ids = list(completion.token_ids)
        stopped = completion.finish_reason == "stop"
        k = request.sampling.top_logprobs
        top = top_arrays(completion.logprobs, ids, k) if k and completion.logprobs else None
        return Finished(ids[:-1] if stopped and ids else ids, stopped, top)


def top_arrays(entries: Sequence[Mapping[int, Any]], ids: Sequence[int], k: int) -> TopArrays:
    """VLLM's logprobs as arrays: at each position a map from token id to an object with `logprob`.

    The map holds the k likeliest tokens and the sampled one, which may be a further one.

    Raises:
        TeacherError: a position lacks its sampled token, or has fewer than k.
    """
    n = len(ids)
    shape = (n, k)
    top, logprobs = np.zeros(shape, np.uint32), np.zeros(shape, np.float32)
    sampled = np.zeros(n, np.float32)
    if len(entries) != n:
        raise TeacherError(f"vLLM gave logprobs for {len(entries)} of {n} tokens")
    for position, (entry, token) in enumerate(zip(entries, ids, strict=True)):
        ranked = sorted(((float(e.logprob), i) for i, e in entry.items()), key=lambda x: -x[0])[:k]
        if token not in entry or len(ranked) < k:
            raise TeacherError(f"vLLM gave {len(ranked)} of {k} logprobs at position {position}")
        top[position] = [i for _, i in ranked]
        logprobs[position] = [value for value, _ in ranked]
        sampled[position] = entry[token].logprob
    inside = np.exp(logprobs.astype(np.float64)).sum(axis=1)
    with np.errstate(divide="ignore"):
        tail = np.log(np.clip(1.0 - inside, 0.0, 1.0)).astype(np.float32)
    return TopArrays(top, logprobs, tail, sampled)


def import_vllm() -> Any:
    """The module `vllm`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import vllm
    except ImportError as error:
        raise MissingDependencyError(
            f"vLLM cannot be loaded: {error}", "pip install vllm, on a machine with a GPU"
        ) from error
    return vllm
