from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces import database
from traces.errors import CountError, DataError, DistillError, PartialError
from traces.keys import content_hash, prompt_id
from traces.record import Message, Prompt, Reference, Sampling, TeacherRecord, Trace
from traces.store import TraceStore


def a_trace(key: str = "k", **changes: Any) -> Trace:
    fields: dict[str, Any] = {
        "key": key,
        "prompt_id": "p",
        "sample": 0,
        "attempt": 0,
        "status": "ok",
        "teacher": "t",
        "sampling": Sampling(),
    }
    return Trace(**fields | changes)


def a_prompt(question: str) -> Prompt:
    messages = (Message("user", question),)
    return Prompt(prompt_id(messages, None), messages, source=f"{question}.jsonl:1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "harvest" / "traces.sqlite"


def stored(path: Path, **how: Any) -> list[Trace]:
    with TraceStore.open(path, readonly=True) as store:
        return list(store.traces(**how))


def test_what_was_added_is_read_back_in_order_and_only_one_file_remains(path: Path) -> None:
    traces = [a_trace(content_hash(i), content=f"answer {i}") for i in range(1000)]
    with TraceStore.open(path) as store:
        for trace in traces:
            store.add(trace)
    assert stored(path) == traces
    assert [file.name for file in path.parent.iterdir()] == ["traces.sqlite"]


def test_latest_is_the_highest_attempt_and_the_earlier_ones_are_kept(path: Path) -> None:
    with TraceStore.open(path) as store:
        store.add(a_trace("a", attempt=1, status="ok"))
        store.add(a_trace("a", attempt=0, status="timeout"))
        store.add(a_trace("b", attempt=0, status="ok"))
        store.add(a_trace("b", attempt=1, status="http_error"))
        store.add(a_trace("c", status="truncated"))
        store.flush()
        assert [(t.key, t.attempt) for t in store.traces()] == [("a", 1), ("b", 1), ("c", 0)]
        assert len(list(store.traces(latest=False))) == 5
        assert store.final_keys() == {"a", "c"}
        assert store.attempts() == {"a": 1, "b": 1, "c": 0}
        assert store.status_counts() == {"http_error": 1, "ok": 1, "truncated": 1}
        assert [t.key for t in store.traces(status="ok")] == ["a"]
        assert [t.key for t in store.traces(status="ok", latest=False)] == ["a", "b"]
        assert [t.attempt for t in store.traces(latest=False, status="timeout")] == [0]


def test_a_key_prefix_finds_its_keys_and_no_others(path: Path) -> None:
    with TraceStore.open(path) as store:
        for key in ("aa1", "aa2", "ab1", "b"):
            store.add(a_trace(key))
        store.flush()
        assert [t.key for t in store.traces(key_prefix="aa")] == ["aa1", "aa2"]
        assert [t.key for t in store.traces(key_prefix="a_")] == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=30))
def test_resume_agrees_with_a_plain_reading_of_all_rows(rows: list[tuple[int, int, bool]]) -> None:
    unique = {(key, attempt): good for key, attempt, good in rows}
    latest = {key: max(a for k, a in unique if k == key) for key, _ in unique}
    with TemporaryDirectory() as folder, TraceStore.open(Path(folder) / "a.sqlite") as store:
        for (key, attempt), good in unique.items():
            store.add(a_trace(str(key), attempt=attempt, status="ok" if good else "timeout"))
        store.flush()
        assert store.attempts() == {str(k): a for k, a in latest.items()}
        assert store.final_keys() == {str(k) for k, a in latest.items() if unique[k, a]}
        assert sum(store.status_counts().values()) == len(latest)


def test_prompts_and_teachers_are_stored_once_and_found_by_id(path: Path) -> None:
    prompts = [a_prompt(f"question {i}") for i in range(600)]
    teacher = TeacherRecord("t", "endpoint", "big", endpoint="http://one/v1")
    elsewhere = TeacherRecord("t", "endpoint", "big", endpoint="http://two/v1")
    with TraceStore.open(path) as store:
        store.add_prompts(prompts)
        store.add_prompts(iter(prompts[:3]))
        store.add_teacher(teacher)
        store.add_teacher(elsewhere)
    with TraceStore.open(path, readonly=True) as store:
        assert list(store.prompts()) == prompts
        assert store.prompt(prompts[7].id) == prompts[7]
        assert store.teachers() == {"t": teacher}
        with pytest.raises(DataError, match="no prompt 'nope'"):
            store.prompt("nope")


def test_on_durable_comes_after_the_commit_once_for_each_trace(path: Path) -> None:
    seen: list[str] = []

    def check(trace: Trace) -> None:
        reader = sqlite3.connect(path)
        assert reader.execute("SELECT 1 FROM traces WHERE key = ?", (trace.key,)).fetchone()
        reader.close()
        seen.append(trace.key)

    with TraceStore.open(path) as store:
        for i in range(40):
            store.add(a_trace(f"{i}"), check)
        store.flush()
        assert seen == [f"{i}" for i in range(40)]


def test_threads_may_add_together(path: Path) -> None:
    def write(store: TraceStore, name: str) -> None:
        for i in range(300):
            store.add(a_trace(f"{name}{i}"))

    with TraceStore.open(path) as store:
        threads = [threading.Thread(target=write, args=(store, name)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(stored(path)) == 1200


def test_a_long_queue_makes_add_wait_and_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traces.writer.QUEUE_BYTES", 2000)
    with TraceStore.open(path) as store:
        for i in range(200):
            store.add(a_trace(f"{i}"))
    assert len(stored(path)) == 200


def test_a_repeated_attempt_is_our_error_and_costs_no_other_trace(path: Path) -> None:
    store = TraceStore.open(path)
    store.add(a_trace("a", content="first"))
    store.add(a_trace("b"))
    store.add(a_trace("a", content="second"))
    store.add(a_trace("c"))
    with pytest.raises(CountError, match="attempt 0 of trace a is stored already"):
        store.flush()
    with pytest.raises(CountError):
        store.add(a_trace("d"))
    with pytest.raises(CountError):
        store.close()
    store.close()
    assert [(t.key, t.content) for t in stored(path)] == [("a", "first"), ("b", ""), ("c", "")]


def test_a_raising_callback_is_reported_and_its_trace_is_kept(path: Path) -> None:
    def fail(_: Trace) -> None:
        raise RuntimeError("no")

    store = TraceStore.open(path)
    store.add(a_trace("a"), fail)
    with pytest.raises(DistillError, match=r"callback of trace a failed: RuntimeError\('no'\)"):
        store.close()
    assert [t.key for t in stored(path)] == ["a"]


def test_an_error_in_the_block_is_not_hidden_and_what_was_added_is_saved(path: Path) -> None:
    def fail() -> None:
        with TraceStore.open(path) as store:
            store.add(a_trace("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [t.key for t in stored(path)] == ["a"]


def test_lone_surrogates_are_replaced_and_pairs_joined(path: Path) -> None:
    with TraceStore.open(path) as store:
        store.add(a_trace("a", content="x\ud800y", error="\ud83d\ude00", answer="\x00"))
    (trace,) = stored(path)
    assert (trace.content, trace.error, trace.answer) == ("x\ufffdy", "\U0001f600", "\x00")


def test_a_second_writer_is_refused_until_the_first_is_done(path: Path) -> None:
    with TraceStore.open(path):
        with pytest.raises(DataError, match="another process is writing"):
            TraceStore.open(path)
        with TraceStore.open(path, readonly=True) as reader:
            assert list(reader.traces()) == []
    TraceStore.open(path).close()


def test_a_reader_sees_what_is_committed_while_the_writer_goes_on(path: Path) -> None:
    with TraceStore.open(path) as writer:
        writer.add(a_trace("a"))
        writer.flush()
        with TraceStore.open(path, readonly=True) as reader:
            assert len(list(reader.traces())) == 1
            found = reader.traces()
            next(found)
            writer.add(a_trace("b"))
            writer.flush()
            assert list(found) == []
            assert len(list(reader.traces())) == 2


def test_a_readonly_store_refuses_to_write(path: Path) -> None:
    TraceStore.open(path).close()
    with TraceStore.open(path, readonly=True) as store:
        for write in (store.flush, lambda: store.add(a_trace()), lambda: store.add_prompts([])):
            with pytest.raises(ValueError, match="open for reading only"):
                write()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "holds no traces yet"),
        (lambda p: p.write_bytes(b"name,score\n" * 200), "not a trace store"),
        (lambda p: p.mkdir(), "no such file"),
        (lambda p: _sqlite(p, "CREATE TABLE songs (name)"), "not a trace store"),
    ],
)
def test_a_file_that_is_no_store_is_named(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "file.sqlite"
    prepare(path)
    with pytest.raises(DataError, match=f"file.sqlite: .*{message}"):
        TraceStore.open(path, readonly=True)


def _sqlite(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_writing_into_a_foreign_file_is_refused_and_leaves_it_alone(tmp_path: Path) -> None:
    for name, content in (("a.csv", b"name,score\n" * 200), ("b.sqlite", None)):
        path = tmp_path / name
        if content is None:
            _sqlite(path, "CREATE TABLE songs (name)")
        else:
            path.write_bytes(content)
        before = path.read_bytes()
        with pytest.raises(DataError, match="not a trace store"):
            TraceStore.open(path)
        assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.sqlite"]


def test_a_newer_store_is_refused_with_the_way_out(path: Path) -> None:
    TraceStore.open(path).close()
    _sqlite(path, "PRAGMA user_version = 99")
    with pytest.raises(DataError, match="store version 99") as caught:
        TraceStore.open(path)
    assert "pip install" in caught.value.hint


def test_a_damaged_row_is_named_by_its_key(path: Path) -> None:
    with TraceStore.open(path) as store:
        store.add(a_trace("good"))
        store.add(a_trace("bad", content="x" * 500))
    connection = sqlite3.connect(path)
    (body,) = connection.execute("SELECT body FROM traces WHERE key = 'bad'").fetchone()
    flipped = body[:-5] + bytes([body[-5] ^ 1]) + body[-4:]
    connection.execute("UPDATE traces SET body = ? WHERE key = 'bad'", (flipped,))
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="trace bad is damaged"):
        stored(path)
    assert len(stored(path, key_prefix="good")) == 1


def test_a_full_disk_holds_the_writer_until_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "HOLD_S", 0.01)
    done: list[str] = []
    with caplog.at_level(logging.WARNING), TraceStore.open(path) as store:
        limit_pages(store, 10)
        for i in range(100):
            store.add(a_trace(f"{i}", content=_noise(i)), lambda trace: done.append(trace.key))
        while "the disk is full" not in caplog.text:
            time.sleep(0.005)
        assert done == []
        limit_pages(store, 1 << 30)
        store.flush()
        assert len(done) == 100
    assert caplog.text.count("the disk is full; holding") == 1
    assert "there is room again" in caplog.text
    assert len(stored(path)) == 100


def test_a_full_disk_ends_as_partial_when_told_to_stop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "HOLD_S", 0.01)
    stop = threading.Event()
    done: list[str] = []
    store = TraceStore.open(path, stopping=stop.is_set)
    store.add(a_trace("small"), lambda trace: done.append(trace.key))
    store.flush()
    limit_pages(store, 10)
    for i in range(100):
        store.add(a_trace(f"{i}", content=_noise(i)), lambda trace: done.append(trace.key))
    stop.set()
    with pytest.raises(PartialError, match="the disk is full") as caught:
        store.close()
    assert caught.value.exit_code == 3
    assert "run the same command again" in caught.value.hint
    assert [t.key for t in stored(path)] == done == ["small"]


def limit_pages(store: TraceStore, pages: int) -> None:
    """Make SQLite itself report a full disk past `pages` pages of 4 KiB."""
    store._database.query(f"PRAGMA max_page_count = {pages}")


def _noise(seed: int) -> str:
    return "".join(content_hash([seed, i]) for i in range(100))


def test_a_write_error_surfaces_at_the_next_call(path: Path) -> None:
    store = TraceStore.open(path)
    store._database.query("PRAGMA query_only = 1")
    store.add(a_trace("a"))
    with pytest.raises(DistillError, match="cannot write: attempt to write a readonly database"):
        store.flush()
    with pytest.raises(DistillError, match="cannot write"):
        store.close()


def test_a_store_that_is_moved_while_written_to_is_refused_and_whole(path: Path) -> None:
    store = TraceStore.open(path)
    store.add(a_trace("a"))
    store.flush()
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    store.add(a_trace("b"))
    with pytest.raises(DataError, match="moved or deleted while it was written to"):
        store.flush()
    with pytest.raises(DataError, match="moved or deleted"):
        store.close()
    assert sorted(trace.key for trace in stored(moved / path.name)) == ["a", "b"]
    assert not path.parent.exists()


def test_references_with_choices_survive_the_store(path: Path) -> None:
    reference = Reference("choice", "B", {"A": "one", "B": "two"})
    messages = (Message("user", "which?"),)
    prompt = Prompt(prompt_id(messages, reference), messages, reference, "law", "f:1")
    with TraceStore.open(path) as store:
        store.add_prompts([prompt])
        assert store.prompt(prompt.id) == prompt
