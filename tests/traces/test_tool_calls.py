from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, good
from tests.scenario import endpoint, stored
from traces.budget import worst_usage
from traces.harvest import harvest, planned_keys
from traces.keys import prompt_id, trace_key
from traces.plan import sample_seed
from traces.record import Message, Prompt, Sampling, TeacherRecord, Trace
from traces.store import TraceStore
from traces.teachers.chat_request import chat_body
from traces.teachers.profile import profiles
from traces.tool_calls import arguments_of, read_calls

TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ASK = (Message("user", "1+1?"),)
TALK = (
    *ASK,
    Message("assistant", "", tool_calls=(CALL, {**CALL, "id": "c2"})),
    Message("tool", "2", tool_call_id="c1"),
    Message("tool", "3", tool_call_id="c2"),
)


def asked(path: Path, answer: Answer, tools: tuple[dict[str, Any], ...], **changes: Any) -> Any:
    """The trace of one prompt with these tools, and the body that was sent."""
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        return answer

    prompt = Prompt(prompt_id(ASK, None, tools), ASK, tools=tools)
    with FaultServer(behave) as server, TraceStore.open(path / "traces.sqlite") as store:
        harvest([prompt], endpoint(server, **changes), store, samples=1,
                sampling=Sampling(max_tokens=50), seed=0)  # fmt: skip
    return stored(path)[-1], seen[-1].body


def test_tools_are_sent_and_the_calls_are_kept(tmp_path: Path) -> None:
    answer = good(None, tool_calls=[CALL], finish_reason="tool_calls")
    trace, body = asked(tmp_path, answer, (TOOL,))
    assert body["tools"] == [TOOL]
    assert isinstance(trace, Trace)
    assert (trace.status, trace.finish_reason) == ("ok", "tool_calls")
    assert (trace.tool_calls, trace.flags) == (
        (CALL,),
        ("tool_calls", "empty_answer"),
    )


def test_calls_of_tools_that_nobody_offered_are_no_answer(tmp_path: Path) -> None:
    trace, body = asked(tmp_path, good(None, tool_calls=[CALL]), ())
    assert "tools" not in body
    assert (trace.status, trace.tool_calls) == ("empty", ())


def test_a_profile_without_tools_leaves_them_out_and_says_so(tmp_path: Path) -> None:
    trace, body = asked(tmp_path, good("2"), (TOOL,), profile="transformers_serve")
    assert "tools" not in body
    assert (trace.status, trace.flags) == ("ok", ("tools_not_sent",))


def test_the_tools_are_part_of_what_was_asked_and_of_its_worst_cost() -> None:
    def keys(kind: str, tools: tuple[dict[str, Any], ...]) -> list[str]:
        prompt = Prompt("p", ASK, tools=tools)
        record = TeacherRecord("t", kind, "m")
        sampling = Sampling(temperature=1.0)
        return planned_keys([prompt], record, samples=2, sampling=sampling, seed=3)

    assert keys("endpoint", (TOOL,)) != keys("endpoint", ())
    assert keys("local", (TOOL,)) == keys("local", ())
    assert len({*keys("endpoint", (TOOL,)), *keys("endpoint", (TOOL, TOOL))}) == 4
    plain = worst_usage(ASK, Sampling()).prompt
    assert worst_usage(ASK, Sampling(), [TOOL]).prompt >= plain + len(json.dumps(TOOL)) // 4
    assert worst_usage(TALK, Sampling()).prompt > worst_usage((*ASK, *ASK), Sampling()).prompt


def test_calls_and_results_go_back_as_each_interface_writes_them() -> None:
    chat = json.loads(chat_body("m", TALK, Sampling(), {}, profiles()["vllm"], [TOOL]))
    assert chat["messages"][1]["tool_calls"][0] == CALL
    assert [turn.get("tool_call_id") for turn in chat["messages"]] == [None, None, "c1", "c2"]
    own = json.loads(chat_body("m", TALK, Sampling(), {}, profiles()["anthropic"], [TOOL]))
    assert own["tools"] == [
        {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
    ]
    assert [turn["role"] for turn in own["messages"]] == ["user", "assistant", "user"]
    use = {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}
    assert own["messages"][1]["content"][0] == use
    assert [block["tool_use_id"] for block in own["messages"][2]["content"]] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("given", "kept", "flags"),
    [
        (None, 0, ()),
        ([], 0, ()),
        ([CALL], 1, ("tool_calls",)),
        ([{"function": {"name": "f", "arguments": "{bro"}}], 1,
         ("tool_calls", "tool_arguments_broken")),
        ([CALL, {"function": {}}, "x"], 1, ("tool_calls", "tool_calls_ignored")),
        ("x", 0, ("tool_calls", "tool_calls_ignored")),
    ],
)  # fmt: skip
def test_what_came_as_calls_is_kept_as_it_came_or_marked(
    given: Any, kept: int, flags: tuple[str, ...]
) -> None:
    calls, found = read_calls(given)
    assert (len(calls), found) == (kept, flags)


def test_arguments_that_are_no_object_are_not_lost() -> None:
    texts = ['{"a": 1}', "[1]", "{bro", "", None]
    found = [arguments_of({"function": {"arguments": text}}) for text in texts]
    assert found == [{"a": 1}, {"arguments": [1]}, {"arguments": "{bro"}, {}, {}]


def test_keys_of_prompts_without_tools_are_what_they_were() -> None:
    record = TeacherRecord("t", "endpoint", "m")
    prompts = [Prompt("p", ASK)]
    (greedy,) = planned_keys(prompts, record, samples=1, sampling=Sampling(), seed=3)
    assert greedy == "6332e6b58fbdd0d2366a97af858da1a4"
    seeded = Sampling(seed=sample_seed(0, "p", 0))  # greedy: whatever the run's seed
    assert greedy == trace_key(record, ASK, seeded, 0)
    drawn = Sampling(temperature=0.6, top_logprobs=5, extra={"z": 1})
    assert list(planned_keys(prompts, record, samples=2, sampling=drawn, seed=3)) == [
        "6a9580c10c72608e485d78976862496d",
        "8f54c4854d42cbebc2be9a1de4663b84",
    ]
