from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_logs import OPENHANDS, OPENHANDS_SDK, TOOLS
from traces.errors import DataError
from traces.talk_formats import FORMATS
from traces.talk_import import import_talks, likely_format

V0: list[dict[str, Any]] = OPENHANDS["history"]  # type: ignore[assignment]
SDK: list[dict[str, Any]] = OPENHANDS_SDK["trajectory"]


def test_server_and_sdk_tell_the_same_conversation() -> None:
    old = FORMATS["openhands"]({"history": V0})
    new = FORMATS["openhands"]({"trajectory": SDK})
    assert old.messages == new.messages
    assert old.tools == new.tools == tuple(TOOLS)
    assert [m.role for m in old.messages] == ["system", "user", "assistant", "tool", "assistant"]


def test_calls_of_one_reply_are_one_turn() -> None:
    second = {**SDK[2], "tool_call": {"id": "c2", "name": "now", "arguments": "{}"}}
    result = {"kind": "AgentErrorEvent", "tool_call_id": "c2", "error": "no clock"}
    talk = FORMATS["openhands"]({"history": [*SDK[:3], second, SDK[3], result, SDK[4]]})
    assert [len(m.tool_calls) for m in talk.messages] == [0, 0, 2, 0, 0, 0]
    assert talk.messages[4].content == "no clock"
    again = copy.deepcopy(V0[4])
    again["tool_call_metadata"]["tool_call_id"] = "c2"
    assert FORMATS["openhands"]({"history": [*V0[:5], again, *V0[5:]]}).messages == (
        FORMATS["openhands"]({"history": V0}).messages
    )


def test_replies_without_an_id_are_turns_of_their_own() -> None:
    old, new = [V0[0], V0[1]], [SDK[0], SDK[1]]
    for name in "ab":
        action, seen = copy.deepcopy(V0[4:6])
        for event in (action, seen):
            event["tool_call_metadata"]["tool_call_id"] = name
        reply = action["tool_call_metadata"]["model_response"]
        reply.pop("id", None)
        reply["choices"][0]["message"]["tool_calls"][0]["id"] = name
        old += [action, seen]
        done = {k: v for k, v in SDK[2].items() if k != "llm_response_id"}
        asked = {**done["tool_call"], "id": name}
        new += [{**done, "tool_call": asked}, {**SDK[3], "tool_call_id": name}]
    for events in (old, new):
        messages = FORMATS["openhands"]({"history": events}).messages
        assert [m.role for m in messages] == ["system", "user", *["assistant", "tool"] * 2]
        assert [m.tool_calls[0]["id"] for m in messages[2::2]] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "reasoning", "fidelity"),
    [
        ({"thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]}, "Hm.", "summary"),
        ({"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}, None, "hidden"),
        ({"responses_reasoning_item": {"summary": ["Hm."]}}, "Hm.", "summary"),
        ({"responses_reasoning_item": {"encrypted_content": "x"}}, None, "hidden"),
        ({}, None, "full"),
    ],
)
def test_reasoning_is_what_the_provider_told(
    fields: dict[str, Any], reasoning: str | None, fidelity: str
) -> None:
    action = {**SDK[2], "reasoning_content": None, **fields}
    talk = FORMATS["openhands"]({"history": [*SDK[:2], action, *SDK[3:]]})
    assert (talk.messages[2].reasoning, talk.fidelity) == (reasoning, fidelity)


def test_a_conversation_ends_where_its_history_was_condensed() -> None:
    for events, condensed in (
        (V0, {"source": "agent", "action": "condensation", "args": {}}),
        (SDK, {"kind": "Condensation", "summary": "x"}),
    ):
        talk = FORMATS["openhands"]({"history": [*events[:-1], condensed, events[-1]]})
        assert talk.messages[-1].role == "tool"


def test_actions_without_the_words_of_the_model_are_refused(tmp_path: Path) -> None:
    bare = [{k: v for k, v in event.items() if k != "tool_call_metadata"} for event in V0]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(bare))
    with pytest.raises(DataError, match="without the tool call that it came from"):
        import_talks(path, tmp_path / "s.sqlite", form="openhands", model="m")


def test_a_file_of_events_is_one_conversation_and_is_known_for_what_it_is(tmp_path: Path) -> None:
    for name, events in (("old", V0), ("new", SDK)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(events))
        assert likely_format(path) == "openhands"
        counts = import_talks(path, tmp_path / f"{name}.sqlite", form="openhands", model="m")
        assert (counts.conversations, counts.generations) == (1, 2)
