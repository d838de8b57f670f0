"""Logs in, the same logs out; every turn of the assistant a trace of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_logs import ANTHROPIC, LOGS, OPENAI, SHAREGPT
from traces.errors import DataError
from traces.jsonio import write_jsonl
from traces.record import Prompt, Trace
from traces.store import TraceStore
from traces.talk_formats import FORMATS, openai_row
from traces.talk_import import TalkCounts, export_talks, import_talks, likely_format
from traces.transfer import export_traces, import_traces


def pairs(store: Path) -> list[tuple[Prompt, Trace]]:
    with TraceStore.open(store, readonly=True) as opened:
        return [(opened.prompt(t.prompt_id), t) for t in opened.traces()]


def imported(folder: Path, name: str, *rows: dict[str, Any], form: str = "openai") -> Path:
    log, store = folder / f"{name}.jsonl", folder / f"{name}.sqlite"
    write_jsonl(log, rows)
    import_talks(log, store, form=form, model="m")
    return store


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_two_turns(form: str, tmp_path: Path) -> None:
    (first, call), (second, answer) = pairs(imported(tmp_path, "log", LOGS[form], form=form))
    assert [m.role for m in first.messages] == ["system", "user"]
    assert [m.role for m in second.messages] == ["system", "user", "assistant", "tool"]
    (called,) = call.tool_calls
    assert called["function"]["name"] == "weather"
    assert json.loads(called["function"]["arguments"]) == {"city": "Zürich"}
    assert second.messages[2].tool_calls == call.tool_calls
    assert (second.messages[3].content, answer.answer) == ("rain", "Yes, it rains.")
    if form != "sharegpt":
        assert second.messages[3].tool_call_id == called["id"]
        assert first.messages[1].content == "Rain in Zürich?"
    assert (call.status, call.finish_reason, answer.finish_reason) == ("ok", "tool_calls", "stop")
    assert call.key != answer.key
    assert call.origin["conversation"] == answer.origin["conversation"]


@pytest.mark.parametrize(
    ("form", "reasoning", "fidelity"),
    [
        ("openai", "I must look.", "full"),
        ("anthropic", "I must look.", "summary"),
        ("responses", "I must look.", "summary"),
        ("swe-agent", None, "full"),
        ("openhands", "I must look.", "full"),
    ],
)
def test_reasoning_is_kept_with_how_whole_it_is(
    form: str, reasoning: str | None, fidelity: str, tmp_path: Path
) -> None:
    (_, call), (_, answer) = pairs(imported(tmp_path, "log", LOGS[form], form=form))
    assert (call.reasoning, call.fidelity) == (reasoning, fidelity)
    assert (answer.reasoning, answer.fidelity) == (None, "full")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_gives_the_same_traces_again(form: str, tmp_path: Path) -> None:
    store = imported(tmp_path, "first", LOGS[form], form=form)
    counts = export_talks(store, tmp_path / "out.jsonl")
    assert (counts.traces, counts.left_out) == (1, 0)
    import_talks(tmp_path / "out.jsonl", tmp_path / "again.sqlite", form="openai", model="m",
                 fidelity="full")  # fmt: skip
    again = pairs(tmp_path / "again.sqlite")
    for (prompt, trace), (prompt_2, trace_2) in zip(pairs(store), again, strict=True):
        assert (prompt.messages, prompt.tools) == (prompt_2.messages, prompt_2.tools)
        for name in ("content", "raw_reasoning", "tool_calls", "answer", "origin", "sampling"):
            assert getattr(trace, name) == getattr(trace_2, name), name
    if form == "openai":
        assert [trace for _, trace in pairs(store)] == [trace for _, trace in again]


TEXTS = st.text(max_size=12)
TURNS = st.lists(
    st.one_of(
        st.builds(lambda t: {"role": "user", "content": t + "?"}, TEXTS),
        st.builds(lambda t, r: {"role": "assistant", "content": t + ".", "reasoning_content": r},
                  TEXTS, TEXTS),
        st.builds(lambda t: {"role": "tool", "tool_call_id": "c", "content": t}, TEXTS),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=60)
@given(TURNS, st.dictionaries(st.sampled_from(["score", "id"]), st.integers(), max_size=2))
def test_a_log_is_read_from_what_is_written_of_it(
    turns: list[dict[str, Any]], about: dict[str, int]
) -> None:
    row = {"messages": [{"role": "user", "content": "Go."}, *turns], **about}
    talk = FORMATS["openai"](row)
    assert FORMATS["openai"](openai_row(talk)) == talk


def test_importing_twice_adds_nothing_and_a_shared_beginning_is_no_clash(tmp_path: Path) -> None:
    other = {**OPENAI, "messages": [*OPENAI["messages"][:4],
                                    {"role": "assistant", "content": "No."}]}  # fmt: skip
    store = imported(tmp_path, "log", OPENAI, other, OPENAI)
    assert len(pairs(store)) == 4
    log = tmp_path / "log.jsonl"
    assert import_talks(log, store, form="openai", model="m") == TalkCounts(3, 6, 0, 6)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_tool_calls_and_origin_survive_an_export_of_traces(suffix: str, tmp_path: Path) -> None:
    store = imported(tmp_path, "log", OPENAI)
    export_traces(store, tmp_path / f"out{suffix}")
    import_traces(tmp_path / f"out{suffix}", tmp_path / "copy.sqlite")
    assert pairs(tmp_path / "copy.sqlite") == pairs(store)


def test_a_trajectory_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "run.traj"
    path.write_text(json.dumps(LOGS["swe-agent"]))
    counts = import_talks(path, tmp_path / "s.sqlite", form="swe-agent", model="m")
    assert (counts.conversations, counts.generations) == (1, 2)
    about = pairs(tmp_path / "s.sqlite")[1][1].origin["about"]
    assert about == {"environment": "swe_main", "exit_status": "submitted", "submission": ""}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (SHAREGPT, "no list `messages`"),
        ({"messages": [{"role": "user", "content": "?"}]}, "no turn of the assistant"),
        ({"messages": [{"role": "narrator", "content": "?"}]}, "role 'narrator'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "'image_url'"),
        ({"messages": [3]}, "turn 1 is not an object"),
        ({**OPENAI, "tools": "[{"}, "`tools` is not JSON"),
    ],
)
def test_a_row_that_is_no_conversation_is_named_and_nothing_is_written(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "log.jsonl", [OPENAI, row])
    with pytest.raises(
        DataError, match=r"log.jsonl:2: no conversation of format openai: .*" + message
    ):
        import_talks(tmp_path / "log.jsonl", tmp_path / "s.sqlite", form="openai", model="m")
    assert not (tmp_path / "s.sqlite").exists()


@pytest.mark.parametrize("lines", ["[{0}, {0}]", "\ufeff{0}\n", "{0}\n{0}\n"])
def test_a_json_file_may_hold_a_list_or_one_or_lines(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(lines.replace("{0}", json.dumps(SHAREGPT)))
    counts = import_talks(path, tmp_path / "s.sqlite", form="sharegpt", model="m")
    assert (counts.conversations, counts.traces) == (lines.count("0"), 2)


def test_a_log_of_another_format_is_recognised(tmp_path: Path) -> None:
    path, store = tmp_path / "log.json", tmp_path / "s.sqlite"
    path.write_text(json.dumps([SHAREGPT] * 5))
    with pytest.raises(DataError) as caught:
        import_talks(path, store, form="openai", model="m")
    assert "this looks like --format sharegpt" in caught.value.hint
    assert caught.value.message.endswith("and 2 more rows like that")
    assert not store.exists()
    for log, form in ((OPENAI, "openai"), (ANTHROPIC, "anthropic")):
        path.write_text(json.dumps(log))
        assert likely_format(path) == form
    path.write_text("nothing")
    assert likely_format(path) == ""


@pytest.mark.parametrize("content", [5, [{"type": ["text"]}], {"type": "text"}])
def test_content_of_any_kind_is_no_obstacle_to_naming_the_fault(
    tmp_path: Path, content: Any
) -> None:
    path = tmp_path / "log.jsonl"
    write_jsonl(path, [{"messages": [{"role": "user", "content": content}]}])
    with pytest.raises(DataError, match="no list `conversations`") as caught:
        import_talks(path, tmp_path / "s.sqlite", form="sharegpt", model="m")
    assert "this looks like --format openai" in caught.value.hint


def test_a_sound_log_is_not_read_again_for_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("traces.talk_import.likely_format")
    assert len(pairs(imported(tmp_path, "log", OPENAI))) == 2


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"log.json: cannot be read: Input/output error"):
        import_talks(path, tmp_path / "s.sqlite", form="openai", model="m")


def test_a_turn_whose_content_is_a_number_is_one_of_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": 5}, 6]}\n')
    assert likely_format(path) == "openai"
    with pytest.raises(DataError, match="no conversation of format openai"):
        import_talks(path, tmp_path / "s.sqlite", form="openai", model="m")
