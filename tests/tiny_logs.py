"""Logs of one conversation with a tool, in every format that is imported."""

from __future__ import annotations

from typing import Any

SCHEMA = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOLS = [{"type": "function", "function": SCHEMA}]
ARGUMENTS = '{"city": "Zürich"}'
CALL = {"type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}

OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain in Zürich?"},
        {"role": "assistant", "content": None, "reasoning_content": "I must look.",
         "tool_calls": [{"id": "c1", **CALL}]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "assistant", "content": "Yes, it rains."},
        {"role": "user", "content": "Thanks."},
    ],
    "tools": TOOLS,
    "resolved": True,
}  # fmt: skip
SHAREGPT = {
    "system": "Be brief.",
    "conversations": [
        {"from": "human", "value": "Rain in Zürich?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Zürich"}}'},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "Yes, it rains."},
    ],
    "tools": '[{"name": "weather"}]',
}
ANTHROPIC = {
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "Rain in Zürich?"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "I must look.", "signature": "x"},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Zürich"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1",
             "content": [{"type": "text", "text": "rain"}]}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes, it rains."}]},
    ],
    "tools": [{"name": "weather", "description": "The weather of a city.",
               "input_schema": SCHEMA["parameters"]}],
}  # fmt: skip
RESPONSES = {
    "instructions": "Be brief.",
    "input": "Rain in Zürich?",
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I must look."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "Yes, it rains."}]},
    ],
    "tools": [{"type": "function", **SCHEMA}],
}  # fmt: skip
SWE_AGENT = {
    "environment": "swe_main",
    "trajectory": [],
    "history": [
        {"role": "system", "content": "Be brief.", "agent": "main", "message_type": "system"},
        {"role": "user", "content": [{"type": "text", "text": "Rain in Zürich?"}]},
        {"role": "assistant", "content": "", "thought": "", "action": "weather Zürich",
         "tool_calls": [{"id": "c1", **CALL}]},
        {"role": "tool", "content": [{"type": "text", "text": "rain"}], "tool_call_ids": ["c1"]},
        {"role": "assistant", "content": "Yes, it rains.", "tool_calls": None},
    ],
    "info": {"exit_status": "submitted", "submission": "", "model_stats": {}},
}  # fmt: skip
REPLY = {"id": "r1", "choices": [{"message": {"role": "assistant", "content": None,
         "reasoning_content": "I must look.", "tool_calls": [{"id": "c1", **CALL}]}}]}  # fmt: skip
ASKED = {"function_name": "weather", "tool_call_id": "c1", "model_response": REPLY}
OPENHANDS = {
    "instance_id": "rain-1",
    "history": [
        {"source": "agent", "action": "system", "args": {"content": "Be brief.", "tools": TOOLS}},
        {"source": "user", "action": "message", "args": {"content": "Rain in Zürich?"}},
        {"source": "agent", "action": "recall", "args": {"query": "Rain"}},
        {"source": "environment", "observation": "agent_state_changed", "content": ""},
        {"source": "agent", "action": "call_tool_mcp", "args": {}, "tool_call_metadata": ASKED},
        {"source": "agent", "observation": "mcp", "content": "rain", "tool_call_metadata": ASKED},
        {"source": "agent", "action": "message", "args": {"content": "Yes, it rains."}},
    ],
}
OPENHANDS_SDK = {
    "trajectory": [
        {"kind": "SystemPromptEvent", "system_prompt": {"type": "text", "text": "Be brief."},
         "tools": [SCHEMA]},
        {"kind": "MessageEvent", "source": "user",
         "llm_message": {"role": "user", "content": [{"type": "text", "text": "Rain in Zürich?"}]}},
        {"kind": "ActionEvent", "thought": [], "reasoning_content": "I must look.",
         "tool_name": "weather", "tool_call_id": "c1", "llm_response_id": "r1",
         "tool_call": {"id": "c1", "name": "weather", "arguments": ARGUMENTS}},
        {"kind": "ObservationEvent", "tool_call_id": "c1",
         "observation": {"kind": "X", "content": [{"type": "text", "text": "rain"}]}},
        {"kind": "MessageEvent", "source": "agent", "llm_message": {
            "role": "assistant", "content": [{"type": "text", "text": "Yes, it rains."}]}},
    ],
}  # fmt: skip
LOGS: dict[str, dict[str, Any]] = {
    "openai": OPENAI,
    "sharegpt": SHAREGPT,
    "anthropic": ANTHROPIC,
    "responses": RESPONSES,
    "swe-agent": SWE_AGENT,
    "openhands": OPENHANDS,
}
