"""Events of OpenHands as chat turns, of its server (to 2025) and of its SDK (since).

Events are what happened, not what the model read: its turns and its tool results are in them word
for word, what the agent's templates put around results is not. From the point where the history was
condensed the model read something else, so a conversation ends there.
"""

from __future__ import annotations

from typing import Any

from traces.record import Fidelity
from traces.talk_blocks import text_of
from traces.tool_calls import call, function_of

Row = dict[str, Any]
CONDENSED = ("condensation", "Condensation")
_SILENT = ("system", "message", "recall", "null", "change_agent_state", "loop_recovery", "pause")


def is_event(value: Any) -> bool:
    """Whether it looks like an event."""
    named = isinstance(value, dict) and ("action" in value or "observation" in value)
    kind = value.get("kind") if isinstance(value, dict) else None
    ours = isinstance(kind, str) and kind.endswith(("Event", "Observation"))
    return (named and "source" in value and "role" not in value) or ours


def openhands_turns(events: Any) -> tuple[list[Row], list[Row], Fidelity]:
    """Chat turns, tools, and how whole the reasoning is.

    Raises:
        ValueError: no events, or an action of the agent without the model's own words.
    """
    if not isinstance(events, list) or not any(map(is_event, events)):
        raise ValueError("no list `history` or `trajectory` of events")
    made = _Turns()
    for event in events:
        if event.get("action") in CONDENSED or event.get("kind") in CONDENSED:
            break
        if isinstance(event.get("kind"), str):
            made.of_sdk(event)
        elif "action" in event:
            made.of_action(event)
        elif "observation" in event:
            made.of_observation(event)
    return made.turns, made.tools, made.fidelity


class _Turns:
    """What is read so far; calls that came in one reply are one turn."""

    def __init__(self) -> None:
        self.turns: list[Row] = []
        self.tools: list[Row] = []
        self.fidelity: Fidelity = "full"
        self._replies: dict[str, Row] = {}

    def of_action(self, event: Row) -> None:
        """What the user or the agent did, by the server."""
        args, asked = event.get("args") or {}, event.get("tool_call_metadata")
        kind = event["action"]
        if isinstance(asked, dict):
            self._reply(asked.get("model_response") or {})
        elif kind == "system":
            self.turns.append({"role": "system", "content": text_of(args.get("content"))})
            self.tools += [tool for tool in args.get("tools") or () if isinstance(tool, dict)]
        elif kind == "message" and args.get("content"):
            role = "assistant" if event.get("source") == "agent" else "user"
            self.turns.append({"role": role, "content": text_of(args["content"])})
        elif event.get("source") == "agent" and kind not in _SILENT:
            raise ValueError(f"an action {kind!r} without the tool call that it came from")

    def of_observation(self, event: Row) -> None:
        """What came of a tool call, by the server; what concerns no call is passed over."""
        asked, content = event.get("tool_call_metadata"), text_of(event.get("content"))
        if isinstance(asked, dict):
            self._result(asked.get("tool_call_id"), content)
        elif event["observation"] == "error" and content:
            self.turns.append({"role": "user", "content": content})

    def of_sdk(self, event: Row) -> None:
        """One event of the SDK; those that the model does not read are passed over."""
        kind, id_ = event["kind"], event.get("tool_call_id")
        more = event.get("extended_content")
        if kind == "SystemPromptEvent":
            parts = [event.get("system_prompt"), event.get("dynamic_context")]
            text = "\n\n".join(text_of(part) for part in parts if part)
            self.turns.append({"role": "system", "content": text})
            tools = [tool for tool in event.get("tools") or () if isinstance(tool, dict)]
            self.tools += [_tool(tool) for tool in tools]
        elif kind == "MessageEvent":
            message = event.get("llm_message") or {}
            text = text_of(message.get("content")) + text_of(more)
            turn = {"role": message.get("role"), "content": text}
            self.turns.append(turn | self._reasoning(message))
        elif kind == "ActionEvent":
            self._action(event)
        elif kind == "ObservationEvent":
            seen = event.get("observation") or {}
            said = seen.get("content") or seen.get("output") or seen.get("message")
            self._result(id_, text_of(said) + text_of(more))
        elif kind == "AgentErrorEvent":
            self._result(id_, text_of(event.get("error")))
        elif kind == "UserRejectObservation":
            self._result(id_, f"Action rejected: {text_of(event.get('rejection_reason'))}")

    def _action(self, event: Row) -> None:
        asked = event.get("tool_call") or {}
        inner = function_of(asked) if "function" in asked else asked
        made = call(inner.get("name"), inner.get("arguments") or "{}", asked.get("id"))
        reply = str(event.get("llm_response_id") or f"event {len(self.turns)}")
        if (turn := self._replies.get(reply)) is not None:
            turn["tool_calls"].append(made)
            return
        turn = {"role": "assistant", "content": text_of(event.get("thought")), "tool_calls": [made]}
        self._add(reply, turn | self._reasoning(event))

    def _reply(self, response: Row) -> None:
        """The model's own message, once for all of its calls."""
        choices = response.get("choices")
        message = choices[0].get("message") if choices else None
        if not isinstance(message, dict):
            raise ValueError("a tool call without the reply that it came in")
        asked = message.get("tool_calls") or ()
        ids = [str(one["id"]) for one in asked if one.get("id")]
        reply = str(response.get("id") or ids or f"event {len(self.turns)}")
        if reply in self._replies:
            return
        turn: Row = {"role": "assistant", "content": text_of(message.get("content"))}
        calls = [
            call(function_of(one).get("name"), function_of(one).get("arguments"), one.get("id"))
            for one in asked
        ]
        turn |= {"tool_calls": calls} if calls else {}
        self._add(reply, turn | self._reasoning(message))

    def _add(self, reply: str, turn: Row) -> None:
        self._replies[reply] = turn
        self.turns.append(turn)

    def _result(self, id_: Any, content: str) -> None:
        self.turns.append({"role": "tool", "content": content, "tool_call_id": id_})

    def _reasoning(self, said: Row) -> Row:
        """The reasoning of a reply; notes where it is a summary, or withheld."""
        item = said.get("responses_reasoning_item")
        blocks = [b for b in said.get("thinking_blocks") or () if isinstance(b, dict)]
        text = text_of(said.get("reasoning_content"))
        if blocks or item:
            told = "".join(str(block.get("thinking") or "") for block in blocks)
            summary = item.get("summary") if isinstance(item, dict) else None
            told = told or "\n\n".join(map(str, summary or ()))
            text = text or told
            withheld = not text or any(b.get("type") == "redacted_thinking" for b in blocks)
            hidden = withheld or self.fidelity == "hidden"
            self.fidelity = "hidden" if hidden else "summary"
        return {"reasoning": text} if text else {}


def _tool(tool: Row) -> Row:
    """A tool as chat-completions has it."""
    if isinstance(tool.get("function"), dict):
        return tool
    schema = tool.get("parameters") or tool.get("input_schema")
    about = {name: tool[name] for name in ("name", "description") if name in tool}
    return {"type": "function", "function": about | ({"parameters": schema} if schema else {})}
