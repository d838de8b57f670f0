from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.keys import RequestKeys, plain_sampling, prompt_id, request_key, teacher_id, trace_key
from traces.plan import Plan, seen_by
from traces.record import Message, Prompt, Sampling, Status, TeacherRecord, Trace
from traces.rows import StructFile, write_structs
from traces.store import TraceStore

RECORD = TeacherRecord(id="t", kind="endpoint", model="m", context=(Message("system", "Think."),))
SAMPLING = Sampling(temperature=0.6, max_tokens=99)

messages = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["user", "assistant", "system"]),
        content=st.text(max_size=9),
        reasoning=st.none() | st.just("hm"),
        tool_calls=st.just(()) | st.just(({"b": 1, "a": {"d": 2, "c": [1]}},)),
    ),
    max_size=3,
).map(tuple)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.6]),
    top_p=st.sampled_from([1.0, 0.95]),
    max_tokens=st.sampled_from([1024, 5, 1234567891]),
    top_logprobs=st.sampled_from([0, 5]),
    extra=st.sampled_from([{}, {"z": 1, "seed": 1234567891, "a": ',"seed":1234567891'}]),
)


def prompts(count: int) -> list[Prompt]:
    asked = [(Message("user", f"question {number}"),) for number in range(count)]
    return [Prompt(prompt_id(one, None), one) for one in asked]


@given(messages, samplings, st.lists(st.sampled_from([0, 1, 7, 2**31 - 1]), max_size=4))
def test_digests_made_in_bulk_are_those_of_the_single_requests(
    asked: tuple[Message, ...], sampling: Sampling, seeds: list[int]
) -> None:
    plain = plain_sampling(sampling)
    made = RequestKeys('the "teacher"', plain).digests(asked, seeds)
    single = [
        request_key('the "teacher"', asked, plain_sampling(_seeded(sampling, seed)), sample)
        for sample, seed in enumerate(seeds)
    ]
    assert made.hex() == "".join(single)


def _seeded(sampling: Sampling, seed: int) -> Sampling:
    values: dict[str, Any] = {name: getattr(sampling, name) for name in Sampling.__struct_fields__}
    return Sampling(**{**values, "seed": seed})


def test_a_request_has_the_key_that_its_parts_make() -> None:
    plan = Plan(prompts(3), RECORD, 2, SAMPLING, 5)
    requests = [plan.request(place, 1) for place in range(plan.places)]
    assert [r.key for r in requests] == list(plan.keys())
    assert [r.key for r in requests] == [
        trace_key(RECORD, r.messages, r.sampling, r.sample) for r in requests
    ]
    assert [r.messages for r in requests[::2]] == [seen_by(RECORD, p.messages) for p in prompts(3)]


def test_a_repeated_prompt_is_wanted_once() -> None:
    first, second = prompts(2)
    plan = Plan([first, second, first], RECORD, 2, SAMPLING, 0)
    assert (len(plan), plan.places, len(set(plan.keys()))) == (4, 6, 4)
    assert list(plan.distinct_prompts()) == [first, second]


def test_it_finds_the_latest_attempt_of_what_a_store_holds(tmp_path: Path) -> None:
    plan = Plan(prompts(4), RECORD, 1, SAMPLING, 0)
    status: Status = "ok"
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        for key, attempt in [(plan.key(2), 1), (plan.key(2), 3), (plan.key(0), 1), ("short", 1)]:
            store.add(Trace(key, "p", 0, attempt, status, teacher_id(RECORD), SAMPLING))
        store.flush()
        assert plan.attempts(store).tolist() == [1, -1, 3, -1]
    assert plan.find([plan.key(3), "short", "0" * 32]) == [3]


def test_a_file_of_prompts_makes_the_plan_that_a_list_makes(tmp_path: Path) -> None:
    write_structs(tmp_path / "prompts.jsonl", prompts(30))
    asked = StructFile(tmp_path / "prompts.jsonl", Prompt)
    made = list(Plan(prompts(30), RECORD, 3, SAMPLING, 1).keys())
    assert list(Plan(asked, RECORD, 3, SAMPLING, 1).keys()) == made
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        assert list(Plan(asked, RECORD, 3, SAMPLING, 1, store).keys()) == made


@pytest.mark.parametrize("samples", [0, 2])
def test_no_prompts_or_no_samples_want_nothing(samples: int) -> None:
    plan = Plan(prompts(0 if samples else 3), RECORD, samples, SAMPLING, 0)
    assert (len(plan), list(plan.keys())) == (0, [])
