"""Work in phases of tasks over files, by whoever is there: one process, several, Ray, a job array.

A task is a function of a folder and its number; it reads what earlier phases left in the folder,
writes files of its own, and last a marker `PHASE-NUMBER.done`, all renamed into place. A task with
a marker is not done again. Tasks give the same bytes whoever runs them, so two that by chance do
the same one disturb nobody, and a run that was killed goes on with what is missing.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from traces.errors import DistillError, PartialError
from traces.jsonio import write_json

POLL_S = 0.5

Task = Callable[[int], None]
Failure = tuple[type[DistillError], str, str]


class Phase(NamedTuple):
    """`tasks` many that may run side by side, once all tasks of the phases before are done."""

    name: str
    tasks: int
    task: Task


Each = Callable[[Task, Sequence[int]], None]
"""Runs a task for each of the numbers, in any order, and returns when all are done."""


def mark(folder: Path, phase: str, number: int, value: Any = None) -> None:
    """Say that a task is done; `value` is plain data for later phases."""
    write_json(marker(folder, phase, number), value)


def marker(folder: Path, phase: str, number: int) -> Path:
    """The file that says so."""
    return folder / f"{phase}-{number:05d}.done"


def missing(folder: Path, phase: Phase) -> list[int]:
    """The tasks of a phase that are not done."""
    there = {path.name for path in folder.glob(f"{phase.name}-*.done")}
    return [n for n in range(phase.tasks) if marker(folder, phase.name, n).name not in there]


def run_phases(folder: Path, phases: Sequence[Phase], each: Each) -> None:
    """Do what is missing, phase by phase.

    Raises:
        PartialError: a worker was lost; what is done is kept.
    """
    for phase in phases:
        if left := missing(folder, phase):
            each(phase.task, left)


def in_turn(task: Task, numbers: Sequence[int]) -> None:
    """One after the other, here."""
    for number in numbers:
        task(number)


def run_rank(
    folder: Path, phases: Sequence[Phase], rank: int, world: int, *, patience_s: float = 60.0
) -> None:
    """Do the share of one of `world` ranks, and wait for the others at the end of each phase.

    Where nothing was done for `patience_s`, the rank takes over what is left of the phase, task by
    task: the others may be lost, or wait for this one's place in the queue. Where there are more
    ranks than tasks, those further back wait longer before they do the same one.
    """
    for phase in phases:
        in_turn(phase.task, [n for n in missing(folder, phase) if n % world == rank])
        left, since, taking = missing(folder, phase), time.monotonic(), False
        while left:
            turn = 1 + (rank // len(left)).bit_length()
            taking = taking or time.monotonic() - since >= patience_s * turn
            if taking:
                phase.task(left[rank % len(left)])
            else:
                time.sleep(min(POLL_S, patience_s))
            now = missing(folder, phase)
            if now != left:
                since = time.monotonic()
            left = now


def in_processes(workers: int, task: Task, numbers: Sequence[int]) -> None:
    """In `workers` processes; they end with this one, however it ends.

    Raises:
        PartialError: one of them was killed.
    """
    if workers == 1 or len(numbers) == 1:
        in_turn(task, numbers)
        return
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(numbers))
    lines: dict[Any, SpawnProcess] = {}
    try:
        for _ in range(min(workers, len(numbers))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, task), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the line
            lines[ours] = process
            _send(ours, waiting.pop())
        busy = set(lines)
        while busy:
            for line in _ready(busy):
                _raise(_answer(line))
                if waiting:
                    _send(line, waiting.pop())
                else:
                    busy.discard(line)
    finally:
        for line, process in lines.items():
            line.close()
            process.terminate()
            process.join()


def in_ray(task: Task, numbers: Sequence[int]) -> None:
    """As tasks of Ray, on a filesystem that all its machines see.

    Raises:
        MissingDependencyError: Ray is not installed.
        PartialError: a machine was lost more often than Ray tries again.
    """
    from traces.scale import import_ray, lost_worker

    ray = import_ray("running as tasks of Ray")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    remote = ray.remote(num_cpus=1)(attempt)
    try:
        for failure in ray.get([remote.remote(task, number) for number in numbers]):
            _raise(failure)
    except ray.exceptions.RayError as error:
        raise lost_worker(error, "run the same again") from error


def attempt(task: Task, number: int) -> Failure | None:
    """Run a task; an error for the user comes back as data, which crosses any border whole."""
    try:
        task(number)
    except DistillError as error:
        return type(error), error.message, error.hint
    return None


def _serve(line: Connection, task: Task) -> None:
    """Run the tasks that come along the line until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    try:
        while True:
            line.send(attempt(task, line.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _ready(lines: Iterable[Any]) -> list[Any]:
    """Those of `lines` from which something can be read, or that ended; waits for one."""
    return list(wait(list(lines)))


def _send(line: Any, number: int) -> None:
    try:
        line.send(number)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise _lost() from error


def _answer(line: Any) -> Failure | None:
    try:
        answer: Failure | None = line.recv()
    except (EOFError, ConnectionResetError) as error:
        raise _lost() from error
    return answer


def _lost() -> PartialError:
    return PartialError("a worker process was lost", "what is done is kept: run the same again")


def _raise(failure: Failure | None) -> None:
    if failure is not None:
        kind, message, hint = failure
        raise kind(message, hint)
