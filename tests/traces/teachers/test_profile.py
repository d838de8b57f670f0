from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, good
from traces.errors import UserError
from traces.record import Message, Sampling
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.chat_request import chat_body
from traces.teachers.endpoint import EndpointTeacher
from traces.teachers.profile import find_profile, from_server, profiles

PROVIDERS = {
    "vllm", "sglang", "llama_cpp", "ollama", "tgi", "deepseek", "openrouter", "together", "openai",
    "anthropic", "gemini", "transformers_serve", "generic", "openai_responses", "gemini_native",
}  # fmt: skip


def test_there_is_a_dated_profile_of_every_provider() -> None:
    assert set(profiles()) == PROVIDERS
    for profile in profiles().values():
        assert profile.title
        datetime.date.fromisoformat(profile.as_of)


def test_hosts_belong_to_one_provider_each() -> None:
    hosts = [host for profile in profiles().values() for host in profile.hosts]
    assert len(hosts) == len(set(hosts))
    assert find_profile("auto", "api.deepseek.com").name == "deepseek"
    assert find_profile("auto", "127.0.0.1").name == "generic"


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'sglang'"):
        find_profile("sglan", "x")


@pytest.mark.parametrize(
    ("server", "owner", "name"),
    [("llama.cpp", "", "llama_cpp"), ("uvicorn", "vllm", "vllm"), ("uvicorn", "me", "generic")],
)
def test_a_server_says_what_it_is(server: str, owner: str, name: str) -> None:
    assert from_server(profiles()["generic"], server, owner).name == name
    assert from_server(profiles()["openai"], server, owner).name == "openai"


def body(name: str, **sampling: Any) -> dict[str, Any]:
    messages = [Message("system", "Be brief."), Message("user", "?", reasoning=None)]
    made = chat_body("m", messages, Sampling(**sampling), {}, profiles()[name])
    found: dict[str, Any] = json.loads(made)
    return found


def test_a_request_is_written_as_the_provider_wants_it() -> None:
    assert body("openai")["max_completion_tokens"] == 1024
    assert "max_tokens" not in body("openai")
    assert body("deepseek")["stream_options"] == {"include_usage": True}
    assert "seed" not in body("deepseek")
    assert body("vllm", top_logprobs=5)["return_token_ids"] is True
    assert "return_token_ids" not in body("vllm")
    assert body("anthropic")["system"] == "Be brief."
    assert [turn["role"] for turn in body("anthropic")["messages"]] == ["user"]


def test_a_provider_limits_the_concurrency_of_a_model() -> None:
    assert profiles()["deepseek"].ceiling("DeepSeek-V4-Pro", 4000) == 500
    assert profiles()["deepseek"].ceiling("deepseek-v4-pro", 8) == 8
    assert profiles()["vllm"].ceiling("deepseek-v4-pro", 4000) == 4000


def test_a_reply_of_the_messages_api_is_read_with_its_thinking() -> None:
    reply = {
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "Two and two.", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Four."},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 9},
    }
    got = read_reply(200, {}, json.dumps(reply).encode(), 0, "messages")
    assert isinstance(got, Reply)
    assert (got.status, got.content, got.raw_reasoning) == ("ok", "Four.", "Two and two.")
    assert (got.usage.prompt, got.usage.cached, got.usage.completion) == (8, 3, 9)
    assert got.fidelity == "hidden"


def test_the_messages_api_is_asked_with_its_own_page_and_headers() -> None:
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        content = [{"type": "text", "text": "4"}]
        made = {"model": "m", "content": content, "stop_reason": "max_tokens"}
        return Answer(json.dumps(made).encode())

    with FaultServer(behave) as server:
        one = EndpointTeacher(base_url=server.url, model="m", api_key="k", profile="anthropic")
        one.check()
    assert seen[0].headers["x-api-key"] == "k"
    assert "authorization" not in seen[0].headers
    assert seen[0].headers["anthropic-version"]


def test_the_check_learns_from_the_list_of_models_what_server_it_is() -> None:
    rows = [{"id": "m", "owned_by": "vllm", "root": "/weights/a", "max_model_len": 4096}]
    models = Answer(json.dumps({"data": rows}).encode())
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        return good()

    with FaultServer(behave, models=models) as server:
        one = EndpointTeacher(base_url=server.url, model="m")
        one.check()
    assert one.canary is not None
    assert (one.canary.owner, seen[0].body["return_token_ids"]) == ("vllm", True)
    assert "/weights/a" in one.canary.weights
