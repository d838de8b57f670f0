"""The adapter against a stand-in that has the documented shapes of `vllm.LLM.generate`.

vLLM itself needs a GPU; what it really returns is not proved here. The stand-in generates with the
real tiny model, so ids, ends and logprobs are real.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.tiny_traces import make_prompt
from tests.traces.teachers.vllm_stand_in import make_module
from traces.errors import MissingDependencyError, TeacherError
from traces.logprobs import unpack
from traces.record import Sampling, Trace
from traces.teachers.local import LocalTeacher
from traces.teachers.protocol import Request
from traces.teachers.vllm_engine import VllmTeacher, top_arrays


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = make_module()
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def requests(count: int, **sampling: Any) -> list[Request]:
    found = []
    for number in range(count):
        prompt = make_prompt(f"Is {number} even?")
        own = Sampling(seed=number, **{"max_tokens": 6, **sampling})
        found.append(Request(f"key {number}", prompt, 0, 1, prompt.messages, own))
    return found


def answers(teacher: LocalTeacher, asked: list[Request]) -> list[Trace]:
    found: list[Trace] = []
    teacher.answer(asked, found.append, lambda: False)
    return sorted(found, key=lambda trace: trace.key)


def test_it_is_the_same_teacher_with_the_same_greedy_traces(
    vllm: ModuleType, tiny_model: Path
) -> None:
    here, there = LocalTeacher(str(tiny_model)), VllmTeacher(str(tiny_model), batch_size=2)
    assert here.record.id == there.record.id
    there.check()
    for mine, its in zip(answers(here, requests(3)), answers(there, requests(3)), strict=True):
        for name in ("key", "status", "content", "token_ids", "finish_reason", "usage", "answer"):
            assert getattr(mine, name) == getattr(its, name), name


def test_logprobs_cover_every_token_and_the_end(vllm: ModuleType, tiny_model: Path) -> None:
    asked = requests(2, top_logprobs=4)
    for mine, its in zip(answers(LocalTeacher(str(tiny_model)), asked),
                         answers(VllmTeacher(str(tiny_model)), asked), strict=True):  # fmt: skip
        assert mine.logprobs is not None
        assert its.logprobs is not None
        a, b = unpack(mine.logprobs), unpack(its.logprobs)
        assert np.array_equal(a.ids, b.ids)
        for name in ("logprobs", "log_tail", "sampled"):
            assert np.allclose(getattr(a, name), getattr(b, name), atol=2e-2), name


def test_an_end_of_turn_is_stopped_at_and_not_kept(vllm: Any, tiny_model: Path) -> None:
    teacher = VllmTeacher(str(tiny_model))
    vllm.forced = [teacher.tokenizer.encode("4")[0], teacher.tokenizer.eos_token_id]
    (trace,) = answers(teacher, requests(1))
    assert (trace.content, trace.status, trace.finish_reason) == ("4", "ok", "stop")
    assert trace.usage.completion == 2
    vllm.reason = "abort"
    (aborted,) = answers(teacher, requests(1))
    assert (aborted.status, aborted.error) == ("cancelled", "vLLM ended it: abort")


def test_sampling_and_engine_options_arrive(vllm: Any, tiny_model: Path) -> None:
    teacher = VllmTeacher(str(tiny_model), engine={"max_model_len": 99}, revision="r1")
    answers(teacher, requests(1, temperature=0.5, top_p=0.9, extra={"top_k": 7}))
    assert vllm.options == {"max_logprobs": 128, "max_model_len": 99, "revision": "r1"}
    wanted = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 6, "seed": 0, "top_k": 7, "n": 1}
    assert wanted.items() <= vllm.params[0].items()


def test_what_vllm_refuses_is_one_line(vllm: Any, tiny_model: Path) -> None:
    vllm.refuses = "The prompt is too long\nand more"
    with pytest.raises(TeacherError, match="vLLM refuses: The prompt is too long\n"):
        answers(VllmTeacher(str(tiny_model)), requests(1))


def test_missing_logprobs_are_no_silence() -> None:
    entry = {5: SimpleNamespace(logprob=-0.5)}
    for entries, ids, k, message in (
        ([entry], [5], 2, "1 of 2 logprobs at position 0"),
        ([entry], [6], 1, "logprobs at position 0"),
        ([entry], [5, 6], 1, "for 1 of 2 tokens"),
    ):
        with pytest.raises(TeacherError, match=message):
            top_arrays(entries, ids, k)


def test_without_vllm_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingDependencyError, match="vLLM cannot be loaded"):
        VllmTeacher(str(tiny_model)).check()
    assert msgspec.structs.asdict(VllmTeacher(str(tiny_model)).record)["server"].startswith("vllm")
