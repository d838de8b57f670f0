from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import traces.plan
from traces import digests
from traces.budget import Budget, Caps
from traces.errors import CountError, DataError
from traces.harvest import HarvestCounts, harvest
from traces.keys import prompt_id
from traces.plan import Plan
from traces.record import Message, Prompt, Sampling, TeacherRecord, Trace, Usage
from traces.remembered import StoredDigests
from traces.rows import StructFile, write_structs
from traces.store import TraceStore
from traces.teachers.protocol import Request

SAMPLING = Sampling(temperature=0.6)
BASE = Trace("k", "p", 0, 1, "ok", "t", SAMPLING)


class AtOnce:
    """A teacher that answers at once."""

    record = TeacherRecord(id="t", kind="file", model="m")

    def check(self) -> None:
        return

    def answer(
        self,
        requests: Iterable[Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        for request in requests:
            emit(
                msgspec.structs.replace(
                    BASE,
                    key=request.key,
                    attempt=request.attempt,
                    sampling=request.sampling,
                    usage=Usage(3, 2),
                    cost_micro_usd=7,
                )
            )


def run(
    folder: Path, count: int, budget: Budget | None = None, sampling: Sampling = SAMPLING
) -> HarvestCounts:
    asked = [(Message("user", f"question {number}"),) for number in range(count)]
    path = folder / "prompts.jsonl"
    write_structs(path, [Prompt(prompt_id(one, None), one) for one in asked])
    with TraceStore.open(folder / "traces.sqlite") as store:
        return harvest(
            StructFile(path, Prompt),
            AtOnce(),
            store,
            samples=2,
            sampling=sampling,
            seed=0,
            budget=budget,
        )


def change(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "traces.sqlite", isolation_level=None)) as connection:
        connection.execute(sql)


def plan(folder: Path, sampling: Sampling = SAMPLING, record: TeacherRecord | None = None) -> Plan:
    asked = StructFile(folder / "prompts.jsonl", Prompt)
    with TraceStore.open(folder / "traces.sqlite", readonly=True) as store:
        found = Plan(asked, record or AtOnce.record, 2, sampling, 0, store)
        made = Plan(asked, record or AtOnce.record, 2, sampling, 0)
        assert (list(found.keys()), found.repeated) == (list(made.keys()), made.repeated)
        return found


def spent(folder: Path, *, readonly: bool = False) -> tuple[int, int, int]:
    with TraceStore.open(folder / "traces.sqlite", readonly=readonly) as store:
        return store.spent()


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.none() | st.integers(0, 99),
            st.integers(0, 99),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 12), max_size=2),
)
def test_the_total_is_the_sum_over_all_attempts(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int | None, int, bool]],
    flushed: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("store")
    made = [
        Trace(
            key, "p", 0, number, "timeout", "t", SAMPLING, usage=Usage(tokens, 1),
            cost_micro_usd=cost, flags=("resplit",) if again else (),
        )
        for number, (key, cost, tokens, again) in enumerate(rows)
    ]  # fmt: skip
    with TraceStore.open(folder / "traces.sqlite") as store:
        for number, trace in enumerate(made):
            store.add(trace)
            if number in flushed:
                store.flush()
        store.flush()
        paid = [trace for trace in made if "resplit" not in trace.flags]
        assert store.spent() == (
            sum(trace.cost_micro_usd or 0 for trace in paid),
            sum(trace.usage.prompt + 1 for trace in paid),
            len(paid),
        )


def test_a_duplicate_is_not_counted(tmp_path: Path) -> None:
    store = TraceStore.open(tmp_path / "traces.sqlite")
    trace = msgspec.structs.replace(BASE, usage=Usage(1, 1))
    store.add(trace)
    store.add(trace)
    with pytest.raises(CountError, match="is stored already"):
        store.close()
    assert spent(tmp_path) == (0, 2, 1)


def test_a_resume_with_caps_decodes_no_trace(tmp_path: Path) -> None:
    first = run(tmp_path, 3)
    assert (first.asked, spent(tmp_path)) == (6, (42, 30, 6))
    change(tmp_path, "UPDATE traces SET body = x'00'")
    budget = Budget(Caps(requests=8), None)
    again = run(tmp_path, 5, budget)
    assert (again.reused, again.asked, again.stopped_by) == (6, 2, "8 requests")
    assert budget.spent.requests == 8


@pytest.mark.parametrize("damage", ["DROP TABLE spent", "UPDATE spent SET upto = 0, micro_usd = 0"])
def test_what_an_older_program_wrote_is_added(tmp_path: Path, damage: str) -> None:
    run(tmp_path, 3)
    if damage.startswith("UPDATE"):
        damage += ", tokens = 0, requests = 0"
    change(tmp_path, damage)
    assert spent(tmp_path, readonly=True) == (42, 30, 6)
    assert spent(tmp_path) == (42, 30, 6)
    change(tmp_path, "UPDATE traces SET body = x'00'")
    assert spent(tmp_path) == (42, 30, 6), "the total was kept"


def test_the_plan_of_the_same_words_is_remembered_and_no_other(tmp_path: Path) -> None:
    run(tmp_path, 3)
    same = plan(tmp_path)
    made = Plan(StructFile(tmp_path / "prompts.jsonl", Prompt), AtOnce.record, 2, SAMPLING, 0)
    assert same.known
    assert not made.known
    hotter = Sampling(temperature=0.7)
    told = msgspec.structs.replace(AtOnce.record, context=(Message("system", "Think."),))
    assert not plan(tmp_path, sampling=hotter).known
    assert not plan(tmp_path, record=told).known
    assert run(tmp_path, 3, sampling=hotter).asked == 6
    assert run(tmp_path, 4, sampling=hotter).asked == 2
    assert run(tmp_path, 4, sampling=hotter).asked == 0


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE plan SET body = zeroblob(length(body))",
        "UPDATE plan_pieces SET body = zeroblob(length(body))",
        "DELETE FROM plan_pieces",
        "DROP TABLE plan_pieces",
    ],
)
def test_a_damaged_plan_is_made_again(tmp_path: Path, damage: str) -> None:
    run(tmp_path, 3)
    change(tmp_path, damage)
    assert not plan(tmp_path).known
    assert run(tmp_path, 3).asked == 0
    assert plan(tmp_path).known


def test_a_total_that_is_kept_is_read_without_a_walk_over_the_traces(tmp_path: Path) -> None:
    run(tmp_path, 1000)
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        steps = []
        store._database._connection.set_progress_handler(lambda: steps.append(1), 100)
        assert store.spent()[2] == 2000
    assert len(steps) < 10


def test_a_plan_of_several_pieces_is_kept_with_its_repeated_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (digests, traces.plan):
        monkeypatch.setattr(module, "PIECE", 4)
    asked = [(Message("user", f"question {number % 7}"),) for number in range(11)]
    path = tmp_path / "prompts.jsonl"
    write_structs(path, [Prompt(prompt_id(one, None), one) for one in asked])
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        wanted = StructFile(path, Prompt), AtOnce(), store
        counts = harvest(*wanted, samples=2, sampling=SAMPLING, seed=0)
        assert (counts.requested, counts.asked) == (14, 14)
    kept = plan(tmp_path)
    assert kept.known
    assert kept.repeated == frozenset(range(14, 22))
    assert run(tmp_path, 7).reused == 14


def test_a_plan_whose_place_another_took_says_so(tmp_path: Path) -> None:
    run(tmp_path, 3)
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        asked = StructFile(tmp_path / "prompts.jsonl", Prompt)
        first = Plan(asked, AtOnce.record, 2, SAMPLING, 1, store)
        Plan(asked, AtOnce.record, 2, SAMPLING, 2, store)
        assert isinstance(first.digests, StoredDigests)
        first.digests.piece.cache_clear()
        with pytest.raises(DataError, match="another harvest's plan took the place"):
            first.key(0)
