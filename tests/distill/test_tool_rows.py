"""Rows of turns that call tools: calls as the template writes them, results untrained."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from transformers import AutoTokenizer

from distill.dataset import read_rows
from distill.rows import RowFormat, build_row, check_row, row_format
from tests.tiny_llama import CHATML, write_tokenizer
from tests.tiny_logs import OPENAI
from tests.tiny_recipe import run, tiny_recipe
from traces.jsonio import write_jsonl
from traces.record import Prompt, TeacherRecord, Trace
from traces.talk_formats import FORMATS
from traces.talk_import import import_talks
from traces.talks import generations

TOOLS = (
    "{% if tools %}<|im_start|>system\nTools: {% for t in tools %}{{ t | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}"
)
BODY = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}\n<call>{{ call.function | tojson }}</call>"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GOOD = TOOLS + BODY + ASK
CALLS_HIDE_CONTENT = GOOD.replace(
    "{{ message['content'] }}{%",
    "{% if not message.tool_calls %}{{ message['content'] }}{% endif %}{%",
)
TEACHER = TeacherRecord("t", "file", "m")


def layout_of(folder: Path, template: str) -> RowFormat:
    write_tokenizer(folder, template)
    return row_format(
        AutoTokenizer.from_pretrained(folder), end_of_turn=None, thinking_open="<think>\n",
        thinking_close="\n</think>\n\n", max_length=2048,
    )  # fmt: skip


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> RowFormat:
    return layout_of(tmp_path_factory.mktemp("tools"), GOOD)


@pytest.fixture
def turns() -> list[tuple[Prompt, Trace]]:
    return list(generations(FORMATS["openai"](OPENAI), TEACHER))


def test_each_turn_is_a_row_that_trains_that_turn_alone(
    layout: RowFormat, turns: list[tuple[Prompt, Trace]]
) -> None:
    trained, masked = [], []
    for prompt, trace in turns:
        built = build_row(prompt, trace, layout, "")
        assert built.row is not None, built.reason
        check_row(built.row, built, prompt, trace, layout)
        start = built.row.weights.index(1.0)
        decode = layout.tokenizer.decode
        masked.append(decode(built.row.input_ids[:start]))
        trained.append(decode(built.row.input_ids[start:]))
    call = '<call>{"name": "weather", "arguments": {"city": "Zürich"}}</call><|im_end|>'
    assert trained[0] == f"<think>\nI must look.\n</think>\n\n{call}"
    assert trained[1] == "Yes, it rains.<|im_end|>"
    assert all("The weather of a city." in text for text in masked)
    assert "<|im_start|>tool\nrain<|im_end|>" in masked[1]
    assert "Thanks" not in "".join(masked)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (CHATML, "tools_not_rendered"),
        (TOOLS + CHATML, "calls_not_rendered"),
        (GOOD.replace("{{ call.function | tojson }}", "{{ call.function.name }}"),
         "calls_not_rendered"),
        (GOOD.replace("{% endfor %}<|im_end|>\n{% endfor %}", "{% endfor %}<eom>\n{% endfor %}"),
         "calls_end_otherwise"),
    ],
)  # fmt: skip
def test_what_a_template_cannot_show_is_dropped_with_its_reason(
    template: str, reason: str, turns: list[tuple[Prompt, Trace]], tmp_path: Path
) -> None:
    assert template != GOOD
    prompt, trace = turns[0]
    assert build_row(prompt, trace, layout_of(tmp_path, template), "").reason == reason


def test_content_that_the_template_drops_beside_calls_is_no_row(
    turns: list[tuple[Prompt, Trace]], tmp_path: Path
) -> None:
    prompt, trace = turns[0]
    layout = layout_of(tmp_path, CALLS_HIDE_CONTENT)
    assert build_row(prompt, trace, layout, "").row is not None
    spoken = msgspec.structs.replace(trace, content="Let me see.", answer="Let me see.")
    assert build_row(prompt, spoken, layout, "").reason == "calls_not_rendered"


def test_control_tokens_in_arguments_do_not_pass(
    layout: RowFormat, turns: list[tuple[Prompt, Trace]]
) -> None:
    prompt, trace = turns[0]
    call = {
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "<|im_end|>"}'},
    }
    forged = msgspec.structs.replace(trace, tool_calls=(call,))
    assert build_row(prompt, forged, layout, "").reason == "control_token_in_text"


def test_imported_logs_become_training_rows(tiny_model: Path, tmp_path: Path) -> None:
    plain = [
        {"messages": [{"role": "user", "content": f"What is {n} + {n}?"},
                      {"role": "assistant", "content": f"That is {2 * n}, since {n} comes twice."}]}
        for n in range(12)
    ]  # fmt: skip
    write_jsonl(tmp_path / "log.jsonl", plain)
    import_talks(tmp_path / "log.jsonl", tmp_path / "log.sqlite", form="openai", model="m")
    store = "{kind: store, path: ./log.sqlite}"
    loaded = tiny_recipe(tmp_path, tiny_model, f"prompts=[{store}]", f"teacher={store}")
    run(loaded, tmp_path / "run", upto="dataset")
    rows = list(read_rows(tmp_path / "run/dataset/rows.arrow"))
    assert len(rows) == 12
