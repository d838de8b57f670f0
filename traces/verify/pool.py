"""Symbolic comparisons in killable processes, from any thread.

The caller only waits on a pipe: no signal handler, no alarm, no fork in this process. Workers
start on the first comparison, so a run of plain numbers never pays for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, cast

from traces.errors import DistillError
from traces.record import Outcome
from traces.verify import isolation
from traces.verify.check import Check, Pending

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from traces.verify.{} import main; main()"
)
_START_LIMIT_S = 120.0


class Pool:
    """At most `workers` processes, each comparison limited to `timeout_s` seconds of CPU time.

    Programs run on the rung `isolation` (`traces.verify.isolation`), the best there is if not
    given. Thread-safe. Use as a context manager or call `close`.
    """

    def __init__(self, workers: int = 2, timeout_s: float = 5.0, isolation: str = "") -> None:
        self.workers = workers
        self.timeout_s = timeout_s
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._programs: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._scorers: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(_Worker("worker", timeout_s))
            self._programs.put(_Worker("zygote", timeout_s, isolation))
            self._scorers.put(_Worker("gym_worker", timeout_s))

    def compare(self, pending: Pending) -> Check:
        """The verdict of the symbolic tier. A limit that is hit gives unknown, with the limit."""
        worker = self._idle.get()
        try:
            reply = worker.ask(pending._asdict())
        finally:
            self._idle.put(worker)
        return Check(cast(Outcome, reply["outcome"]), "symbolic", reply["reason"])

    def score(self, dataset: str, entry: dict[str, Any], answer: str) -> Check:
        """The verdict of a scorer of reasoning-gym on `answer`."""
        worker = self._scorers.get()
        try:
            reply = worker.ask({"dataset": dataset, "entry": entry, "answer": answer})
        finally:
            self._scorers.put(worker)
        return Check(cast(Outcome, reply["outcome"]), "gym", reply["reason"])

    def run_program(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a jailed program did (`traces.verify.zygote.run`).

        `end` is `no isolation: ...` where this machine offers none: then nothing was run. `rung` is
        the isolation it ran in.
        """
        worker = self._programs.get()
        try:
            reply = worker.ask(request)
        finally:
            self._programs.put(worker)
        found = reply if "end" in reply else {"end": reply["reason"], "lines": [], "stdout": ""}
        return {**found, "rung": worker.rung}

    def close(self) -> None:
        """End all processes. A later comparison starts them again."""
        for workers in (self._idle, self._programs, self._scorers):
            idle = [workers.get() for _ in range(self.workers)]
            for worker in idle:
                worker.stop()
                workers.put(worker)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Worker:
    """One server process, started when first asked and replaced when it is lost."""

    def __init__(self, module: str, cpu_s: float, rung: str = "") -> None:
        self.module = module
        self.rung = rung
        self.needs = "reasoning_gym" if module == "gym_worker" else "math_verify"
        self.cpu_s = cpu_s
        self.missing = ""  # why this machine cannot run it
        # Only a process that is stuck without using CPU time is ended by the clock.
        self.wall_s = 60.0 + 20.0 * cpu_s
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            if self.process is None:
                self._start()
            if self.missing:
                return {"end": f"no isolation: {self.missing}", "lines": [], "stdout": ""}
            reply = self._exchange(json.dumps(request).encode() + b"\n")
            if (
                reply.get("reason") == "worker lost"
            ):  # from outside, so the input is worth another try
                self._start()
                reply = self._exchange(json.dumps(request).encode() + b"\n")
            return reply
        except BaseException:
            # An interrupted exchange leaves a reply in the pipe: never reuse such a process.
            self.stop()
            raise

    def _exchange(self, request: bytes) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
            line = self._line(self.wall_s)
        except (BrokenPipeError, EOFError):
            self.stop()
            return {"outcome": "unknown", "reason": "worker lost"}
        except TimeoutError:
            self.stop()
            return {"outcome": "unknown", "reason": "time"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _line(self, limit_s: float) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        end = time.monotonic() + limit_s
        data = b""
        while not data.endswith(b"\n"):
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def _start(self) -> None:
        if self.module == "zygote" and not self._has_rung():
            return
        start = _START.format(self.module)
        if self.module == "zygote":
            path = json.dumps(isolation.import_path())
            command = isolation.command(self.rung, start, path, str(self.cpu_s), self.rung)
        else:
            path = json.dumps([entry or os.getcwd() for entry in sys.path])
            command = [sys.executable, "-c", start, path, str(self.cpu_s)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # The order in which the algebra system works depends on string hashes. A process that
            # runs programs of others gets no environment to tell.
            env={**({} if self.module == "zygote" else os.environ), "PYTHONHASHSEED": "0"},
            # Ctrl-C is the caller's to handle; a group of its own dies at once.
            start_new_session=True,
        )
        try:
            self.missing = json.loads(self._line(_START_LIMIT_S)).get("missing", "")
        except (EOFError, TimeoutError) as error:
            self.stop()
            raise DistillError(
                "the process that judges answers does not start",
                f"try `python -c 'import {self.needs}'`; reinstall it if that fails",
            ) from error

    def _has_rung(self) -> bool:
        self.rung = self.rung or isolation.best()
        self.missing = isolation.missing(self.rung) if self.rung else isolation.why_none()
        return not self.missing

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
