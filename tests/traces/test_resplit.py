from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.tiny_traces import SOLVED, make_prompt, make_trace
from traces.budget import Budget, Caps
from traces.record import Trace
from traces.remembered import cost_of
from traces.resplit import note_of, resplit
from traces.store import TraceStore

PROMPT = make_prompt()


def old(content: str = SOLVED, **fields: Any) -> Trace:
    """A trace of which an older splitter made an answer alone."""
    found = make_trace(PROMPT, content)
    split = {"reasoning": None, "answer": content, "split": "none@0", "flags": ("unclosed", "x")}
    return msgspec.structs.replace(found, **{**split, "cost_micro_usd": 7, **fields})


def filled(path: Path, *traces: Trace) -> Path:
    with TraceStore.open(path) as store:
        store.add_prompts([PROMPT])
        for trace in traces:
            store.add(trace)
    return path


def all_of(path: Path) -> list[Trace]:
    with TraceStore.open(path, readonly=True) as store:
        return list(store.traces(latest=False))


def test_what_is_split_otherwise_is_appended_and_the_old_record_stays(tmp_path: Path) -> None:
    before = [old(), make_trace(PROMPT, "Answer: 3"), old("no", key="k3", status="http_error")]
    path = filled(tmp_path / "traces.sqlite", *before)
    counts = resplit(path)
    assert (counts.traces, counts.unchanged, counts.changed, counts.not_split) == (2, 1, 1, 1)
    assert (counts.reasoning, counts.answer, counts.status) == (1, 1, 0)
    after = all_of(path)
    assert after[:3] == before
    (new,) = after[3:]
    assert (new.key, new.attempt, new.content) == (before[0].key, 2, SOLVED)
    assert (new.reasoning, new.answer) == ("12 < 47\n47 > 30", "Answer: 47")
    assert (new.flags, new.cost_micro_usd) == (("x", "resplit"), 0)
    assert note_of(path).exists()


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "traces.sqlite", old())
    resplit(path)
    assert (resplit(path).changed, len(all_of(path))) == (0, 2)


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "traces.sqlite", old())
    assert resplit(path, dry_run=True).changed == 1
    assert len(all_of(path)) == 1
    assert not note_of(path).exists()


@pytest.mark.parametrize(
    ("content", "status", "becomes"),
    [
        (SOLVED, "empty", "ok"),
        ("<think>x</think> ", "ok", "empty"),
        ("<think>x", "truncated", "truncated"),
    ],
)
def test_the_status_follows_the_answer(
    content: str, status: Any, becomes: str, tmp_path: Path
) -> None:
    path = filled(tmp_path / "traces.sqlite", old(content, status=status))
    resplit(path)
    assert all_of(path)[-1].status == becomes


def test_a_resplit_trace_is_not_paid_for_again() -> None:
    budget = Budget(Caps(requests=5), None)
    budget.count(cost_of(old()))
    budget.count(cost_of(old(flags=("resplit",))))
    assert budget.spent.requests == 1
