from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path

import pytest

from traces import phases
from traces.errors import PartialError
from traces.phases import Phase, in_processes, mark, missing, run_rank
from traces.scale import lost_worker


class Clock:
    """Time that passes only where somebody sleeps."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(phases, "time", made)
    return made


def waited_s(folder: Path, clock: Clock, tasks: int, rank: int, world: int) -> float:
    folder.mkdir()
    phase = Phase("p", tasks, partial(mark, folder, "p"))
    begun = clock.now_s
    run_rank(folder, [phase], rank, world, patience_s=10.0)
    assert missing(folder, phase) == []
    return clock.now_s - begun


def test_patience_is_lost_once_and_not_with_every_lost_task(tmp_path: Path, clock: Clock) -> None:
    assert waited_s(tmp_path / "p", clock, tasks=20, rank=1, world=2) <= 11.0


def test_ranks_that_wait_for_one_task_do_not_all_begin_it_at_once(
    tmp_path: Path, clock: Clock
) -> None:
    waits = [waited_s(tmp_path / str(n), clock, 1, n, world=9) for n in (1, 2, 4, 8)]
    assert waits == [20.0, 30.0, 40.0, 50.0]


def test_a_worker_that_ends_is_a_lost_worker_and_no_traceback() -> None:
    with pytest.raises(PartialError, match="a worker process was lost"):
        in_processes(2, os._exit, [0, 1])
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with pytest.raises(PartialError, match="a worker process was lost"):
        phases._send(ours, 3)
    ours.close()


@pytest.mark.parametrize(
    ("said", "shown"), [("a\nb\n", "b"), ("", "RuntimeError"), (" \n", "RuntimeError")]
)
def test_a_lost_machine_is_named_by_its_last_line(said: str, shown: str) -> None:
    assert lost_worker(RuntimeError(said), "again").message == f"a worker was lost: {shown}"
