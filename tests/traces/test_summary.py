from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.errors import DataError
from traces.record import Message, Prompt, Sampling, TeacherRecord, Trace, Usage
from traces.store import TraceStore
from traces.summary import Spread, find_trace, spread, store_stats


def a_trace(key: str, **changes: Any) -> Trace:
    fields: dict[str, Any] = {"attempt": 1, "status": "ok", "teacher": "t"}
    return Trace(key, "p", 0, sampling=Sampling(), **fields | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite"
    with TraceStore.open(path) as store:
        store.add_prompts([Prompt("p", (Message("user", "?"),)), Prompt("q", ())])
        store.add_teacher(TeacherRecord("t", "local", "big", "r1"))
        store.add(a_trace("aa1", status="timeout", cost_micro_usd=5))
        store.add(
            a_trace(
                "aa1",
                attempt=2,
                reasoning="123456",
                answer="12",
                usage=Usage(5, 100),
                cost_micro_usd=7,
            )
        )
        store.add(a_trace("aa2", status="truncated", finish_reason="length", usage=Usage(5, 300)))
        store.add(a_trace("b", answer="just this", finish_reason="stop", flags=("x",), teacher="u"))
        store.add(a_trace("c", usage=Usage(5, 200, source="estimated"), token_ids=(1,)))
    return path


def test_stats_count_latest_attempts_but_pay_for_all(path: Path) -> None:
    stats = store_stats(path)
    assert (stats.prompts, stats.traces, stats.attempts) == (2, 4, 5)
    assert stats.statuses == {"ok": 3, "truncated": 1}
    assert stats.finish_reasons == {"length": 1, "stop": 1}
    assert stats.flags == {"x": 1}
    assert stats.tokens == Spread(3, 100, 200.0, 290.0, 300, 600)
    assert stats.usage_sources == {"estimated": 1, "server": 2}
    assert (stats.reasoning_traces, stats.reasoning_share) == (1, 0.75)
    assert (stats.with_logprobs, stats.with_token_ids, stats.cost_micro_usd) == (0, 1, 12)
    assert stats.teachers["t"].model == "big"
    assert stats.teachers["t"].statuses == {"ok": 2, "truncated": 1}
    assert (stats.teachers["u"].model, stats.teachers["u"].traces) == ("unknown", 1)
    assert sum(teacher.traces for teacher in stats.teachers.values()) == stats.traces


def test_stats_of_an_empty_store_are_zeros(tmp_path: Path) -> None:
    TraceStore.open(tmp_path / "a.sqlite").close()
    stats = store_stats(tmp_path / "a.sqlite")
    assert stats.tokens == Spread()
    assert (stats.traces, stats.reasoning_share) == (0, 0.0)
    assert msgspec.json.decode(msgspec.json.encode(stats))["teachers"] == {}


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_a_spread_is_in_order_and_within_its_counts(counts: list[int]) -> None:
    found = spread(counts)
    assert found.minimum == min(counts) <= found.median <= found.p95 <= found.maximum == max(counts)
    assert (found.count, found.total) == (len(counts), sum(counts))


def test_a_trace_is_found_by_the_start_of_its_key(path: Path) -> None:
    prompt, trace = find_trace(path, "aa1")
    assert (prompt.id, trace.key, trace.attempt) == ("p", "aa1", 2)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("zz", "no trace has a key that starts with 'zz'"),
        ("", "the key is empty"),
        ("aa", "2 keys start with 'aa': aa1, aa2"),
    ],
)
def test_no_such_key_and_several_are_errors(path: Path, prefix: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        find_trace(path, prefix)
    assert caught.value.message == f"{path}: {message}"


def test_a_cost_that_no_trace_knows_is_not_nothing(tmp_path: Path) -> None:
    with TraceStore.open(tmp_path / "s.sqlite") as store:
        store.add(a_trace("aa1"))
    assert store_stats(tmp_path / "s.sqlite").cost_micro_usd is None
