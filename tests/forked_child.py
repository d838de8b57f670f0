"""Run as a script: forks a process for each task that comes as a line of JSON, cheaply and often.

Prints `pid N`, then what the task prints (`ack KEY` for each trace on disk), then `end CODE`; a
negative code is the signal that ended it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from distill.cli.stopping import stopping
from traces import database, writer
from traces.errors import DistillError
from traces.harvest import harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling, Trace
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher

TEXT = "because 17 is odd and 4 is even, "


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def acknowledge(trace: Trace) -> None:
    say("ack", trace.key)


def write(path: str, count: int, content: str = TEXT * 20) -> None:
    """Add the traces that a store of `count` lacks, a few to a commit."""
    writer.GROUP_ROWS, writer.GROUP_WAIT_S, database.HOLD_S = 8, 0.001, 0.002
    with TraceStore.open(Path(path)) as store:
        there = store.final_keys()
        for number in range(count):
            if f"k{number}" not in there:
                text = f"{number} {content}"
                trace = Trace(f"k{number}", "p", 0, 1, "ok", "t", Sampling(), text)
                store.add(trace, acknowledge)
        store.flush()


def harvests(url: str, path: str, count: int, concurrency: int, **settings: Any) -> None:
    """Harvest as the command does, signals included."""
    prompts = []
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        prompts.append(Prompt(prompt_id(messages, None), messages))
    settings = {"timeout_s": 60.0, "backoff_s": 0.05, **settings}
    teacher = EndpointTeacher(base_url=url, model="m", concurrency=concurrency, **settings)
    with stopping() as stop, TraceStore.open(Path(path)) as store:
        counts = harvest(
            prompts, teacher, store, samples=1, sampling=Sampling(max_tokens=50), seed=0,
            stopping=stop, on_trace=acknowledge,
        )  # fmt: skip
    say("done", counts.asked, counts.failed)
    if stop.asked:
        raise SystemExit(130)


def limited(files: int = 0, memory: int = 0, faults: list[Any] | None = None) -> None:
    """Keep this process to so many files and bytes, or have its system calls fail."""
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if memory:
        now = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    if faults:
        folder, at, times, error = faults
        ctypes.CDLL(None).faults_arm(folder.encode(), *map(ctypes.c_long, (at, times)), error)


def run(task: dict[str, Any]) -> int:
    """The exit code of one task, told as the command tells it."""
    code = 0
    try:
        limited(**task.pop("limits", {}))
        {"write": write, "harvest": harvests}[task.pop("kind")](**task)
    except DistillError as error:
        say("error", type(error).__name__, " ".join(str(error).split()))
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except MemoryError:
        code = 1
    if hasattr(ctypes.CDLL(None), "faults_calls"):
        say("calls", ctypes.CDLL(None).faults_calls())
    return code


def main() -> None:
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                code = run(json.loads(line))
            except SystemExit as end:
                code = int(str(end.code))
            os._exit(code)
        say("pid", pid)
        _, status = os.waitpid(pid, 0)
        say("end", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
