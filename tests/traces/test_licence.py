from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.fault_server import FaultServer, good
from traces.errors import DataError, UserError
from traces.licence import accept, find_licence, notes, registry
from traces.licence_text import fetch, sha256


def test_every_entry_names_its_document_and_the_registry_its_date() -> None:
    known = registry()
    assert known.as_of == "2026-11-21"
    for entry in known.weights:
        assert entry.models
        assert entry.licence
    for entry in (*known.weights, *known.routes):
        assert entry.document
        assert entry.url.startswith("https://")
        assert entry.reviewer
        assert entry.note
        assert entry.output_training != "conditional" or entry.obligations
        assert (entry.document_sha256 is None) == (entry.retrieved_at is None)


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        ("deepseek-ai/DeepSeek-R1-0528", "allowed"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "conditional"),
        ("deepseek-ai/DeepSeek-V3", "conditional"),
        ("Qwen/Qwen3-32B", "allowed"),
        ("openai/gpt-oss-120b", "allowed"),
        ("meta-llama/Llama-3.3-70B-Instruct", "conditional"),
        ("meta-llama/Llama-2-70b", "forbidden"),
        ("google/gemma-3-27b-it", "conditional"),
        ("gpt-5.1", "forbidden"),
        ("claude-opus-4", "forbidden"),
        ("smollm2-135m-instruct", "allowed"),
        ("somebody/unheard-of", "unknown"),
    ],
)
def test_the_weights_decide_for_a_model_served_by_yourself(model: str, outputs: str) -> None:
    for host in ("127.0.0.1", "localhost", "gpu-3", "10.0.0.7", "node.internal"):
        assert find_licence(model, hosts=(host,)).outputs == outputs


def test_the_stricter_of_weights_and_route_wins() -> None:
    hosted = find_licence("deepseek-r1", hosts=("api.openai.com",), route="openai-api")
    assert (hosted.weights.output_training, hosted.outputs) == ("allowed", "forbidden")
    assert find_licence("deepseek-r1", hosts=("api.somewhere.com",)).outputs == "unknown"
    assert find_licence("gpt-5", hosts=("localhost",)).outputs == "forbidden"


def test_a_declared_permissive_licence_stands_in_for_weights_nobody_knows_only() -> None:
    assert find_licence("mine", declared="Apache-2.0", hosts=("localhost",)).outputs == "allowed"
    assert find_licence("mine", declared="ask my boss", hosts=("localhost",)).outputs == "unknown"
    assert find_licence("gpt-5", declared="mit", hosts=("localhost",)).outputs == "forbidden"
    assert find_licence("mine", declared="mit", hosts=("x.com",)).outputs == "unknown"


@pytest.mark.parametrize("model", ["gpt-5", "unheard-of"])
def test_forbidden_and_unknown_stop_until_acknowledged_in_words(model: str) -> None:
    finding = find_licence(model)
    for empty in ("", "  "):
        with pytest.raises(UserError, match="training on outputs") as caught:
            accept(finding, empty)
        assert "--licence-ack" in caught.value.hint
    assert accept(finding, " Approved by legal. ").acknowledged == "Approved by legal."


def test_obligations_of_both_are_kept_and_the_rest_passes() -> None:
    finding = accept(find_licence("llama-3.1-8b"), "")
    assert finding.outputs == "conditional"
    assert any(duty.value == "Built with Llama" for duty in finding.obligations)


def test_a_text_that_nobody_pinned_is_said_and_a_pinned_one_is_kept() -> None:
    bare = find_licence("deepseek-r1")
    assert any("is not pinned: read https://" in line for line in notes(bare))
    pinned = find_licence("deepseek-r1", pinned="a" * 64)
    assert any(f"is pinned: sha256 {'a' * 64}" in line for line in notes(pinned))


def test_a_text_is_hashed_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "LICENSE"
    path.write_bytes(b"free\r\n")
    assert sha256(fetch(str(path))) == hashlib.sha256(b"free\r\n").hexdigest()
    path.write_bytes(b" \n")
    for source, message in ((path, "empty"), (tmp_path / "no", "cannot be read")):
        with pytest.raises(DataError, match=message):
            fetch(str(source))


def test_a_text_on_the_web_is_fetched_and_a_dead_address_is_one_line() -> None:
    with FaultServer(lambda _: good(), models=["m"]) as server:
        assert b'"m"' in fetch(f"{server.url}/models")
        with pytest.raises(DataError, match="nothing: cannot be read"):
            fetch(f"{server.url}/nothing")
