"""Processes that harvest or write a store, to be killed, stopped and starved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

GAP_S = 0.3
HERE = Path(__file__).parent


class Outcome(msgspec.Struct):
    """What a child did: traces that it said are on disk, its other lines, its exit code."""

    acknowledged: list[str]
    said: list[str]
    code: int

    def number(self, word: str) -> int:
        """The first number of the line that begins with `word`."""
        (line,) = [line for line in self.said if line.startswith(f"{word} ")]
        return int(line.split()[1])


class Children:
    """Starts them one after another from one process that has imported everything already."""

    def __init__(self, preload: Path | None = None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forked_child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(
        self,
        kind: str,
        *,
        signals: Sequence[signal.Signals] = (),
        after: int = 10,
        kill_after_s: float | None = None,
        **task: Any,
    ) -> Outcome:
        """Run one child to its end.

        Args:
            kind: `write` or `harvest`; `task` are its arguments.
            signals: Sent, with a gap between, once `after` traces were acknowledged.
            kill_after_s: So long after its start it is killed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"kind": kind, **task}) + "\n")
        self._process.stdin.flush()
        outcome, pid, timers = Outcome([], [], 0), 0, list[threading.Timer]()
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "pid":
                pid = int(rest)
                if kill_after_s is not None:
                    timers.append(_later(kill_after_s, pid, signal.SIGKILL))
            elif word == "end":
                outcome.code = int(rest)
                break
            elif word == "ack":
                outcome.acknowledged.append(rest)
                if len(outcome.acknowledged) == after:
                    timers += [_later(n * GAP_S, pid, one) for n, one in enumerate(signals)]
            else:
                outcome.said.append(line.strip())
        for timer in timers:
            timer.cancel()
            timer.join()
        return outcome


def _later(seconds: float, pid: int, number: signal.Signals) -> threading.Timer:
    def send() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    timer = threading.Timer(seconds, send)
    timer.start()
    return timer
