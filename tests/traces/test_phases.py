"""Ranks that wait take over what is left one after the other, not all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from traces import phases
from traces.phases import Phase, mark, run_rank


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(phases, "time", clock)
    return clock


def begun(rank: int, folder: Path, clock: Clock, lost: int = 1) -> list[float]:
    """When a rank of eight begins each of the tasks of the first ranks, which are lost."""
    starts: list[float] = []
    clock.now = 0.0

    def task(number: int) -> None:
        starts.append(clock.now)
        mark(folder, "only", number)

    folder.mkdir()
    run_rank(folder, [Phase("only", lost, task)], rank, 8)
    return starts


def test_the_further_a_rank_is_from_a_task_the_later_it_takes_it(
    tmp_path: Path, clock: Clock
) -> None:
    waits = {n: begun(n, tmp_path / str(n), clock) for n in range(8)}
    assert waits == {0: [0], 1: [60], 2: [120], 3: [120]} | {n: [180] for n in range(4, 8)}


def test_a_rank_that_is_alone_waits_only_until_its_first_turn(tmp_path: Path, clock: Clock) -> None:
    starts = begun(7, tmp_path / "alone", clock, lost=4)
    assert len(starts) == 4
    assert starts[-1] == max(starts) <= 180


def test_a_rank_waits_anew_where_another_is_at_work(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now == 50.0:
            mark(tmp_path / "busy", "only", 1)

    monkeypatch.setattr(clock, "sleep", sleep)
    assert begun(2, tmp_path / "busy", clock, lost=2) == [170.0]
