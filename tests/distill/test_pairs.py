from __future__ import annotations

from pathlib import Path

import pytest

from distill.pairs import Pairs
from traces.errors import DataError
from traces.keys import prompt_id, trace_key
from traces.record import Message, Prompt, Sampling, TeacherRecord, Trace
from traces.rows import write_structs
from traces.store import TraceStore

TEACHER = TeacherRecord("t", "solver", "m")


def asked(text: str, sample: int) -> tuple[Prompt, Trace]:
    messages = (Message("user", text),)
    prompt = Prompt(prompt_id(messages, None), messages)
    key = trace_key(TEACHER, messages, Sampling(), sample)
    return prompt, Trace(key, prompt.id, sample, 1, "ok", "t", Sampling(), content=text)


def test_the_traces_asked_for_come_with_their_prompts_as_often_as_they_are_wanted(
    tmp_path: Path,
) -> None:
    both = [asked(text, sample) for text in ("a", "b", "c") for sample in (0, 1)]
    with TraceStore.open(tmp_path / "harvest/traces.sqlite") as store:
        store.add_prompts(prompt for prompt, _ in both)
        for _, trace in both:
            store.add(trace)
    mine = [pair for pair in both if pair[1].content != "b"]
    write_structs(tmp_path / "harvest/keys.jsonl", [trace.key for _, trace in reversed(mine)])
    pairs = Pairs(tmp_path)
    assert len(pairs) == len(mine)
    assert list(pairs) == list(pairs) == mine


def test_a_run_without_a_harvest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"keys\.jsonl is missing"):
        Pairs(tmp_path)
