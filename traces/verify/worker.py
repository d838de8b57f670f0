"""A worker process of the pool: a single-threaded server that forks the process doing the work.

The server imports the algebra system once and forks a child; the child reads requests and writes
replies, one JSON line each. Every request runs under a limit on *CPU time* (ITIMER_PROF with the
default action, so the kernel ends it even inside one long C call) and the child under a limit on
memory. When a child dies the server answers for it and forks the next one in a few milliseconds:
hostile input costs its CPU limit and nothing else. CPU time rather than wall time keeps the
verdict the same on a busy machine.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable

Work = Callable[..., tuple[str, str]]
"""From the fields of a request to an outcome and a reason."""
MEMORY_BYTES = 1 << 30
REQUESTS_PER_CHILD = 500  # the algebra system's caches grow; a fresh child starts from small ones
_RECYCLE = 3


def main() -> None:
    """Serve standard input until it ends. Arguments: CPU seconds per request."""
    serve(_symbolic)


def _symbolic() -> Work:
    from traces.verify.symbolic import compare

    # Before the fork: what the first comparison loads is shared by all children, and not counted.
    compare(r"\frac{\pi}{3}", r"\sqrt{2}+x")
    return compare


def serve(load: Callable[[], Work]) -> None:
    """Serve standard input until it ends; `load` gives what turns a request into a reply."""
    cpu_s = float(sys.argv[1])
    # Libraries that print must not write into the replies.
    replies = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    busy = mmap.mmap(-1, 1)
    work = load()
    _write(replies, {"ready": True})
    while True:
        child = os.fork()
        if child == 0:
            _child(replies, busy, cpu_s, work)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        if busy[0]:
            busy[0] = 0
            _write(replies, {"outcome": "unknown", "reason": _cause(status)})


def _cause(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"crash: exit {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    return "cpu" if number == signal.SIGPROF else f"crash: signal {number}"


def _child(replies: int, busy: mmap.mmap, cpu_s: float, work: Work) -> None:
    """Answer requests until standard input ends (exit 0) or it is time for a fresh process."""
    with contextlib.suppress(ValueError, OSError):  # not every system offers it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for _ in range(REQUESTS_PER_CHILD):
        line = _read_line()
        if not line:
            os._exit(0)
        busy[0] = 1
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        request = json.loads(line)
        try:
            outcome, reason = work(**request)
        except BaseException as error:  # whatever the library raises, the verdict is unknown
            outcome, reason = "unknown", f"crash: {type(error).__name__}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        if outcome == "wrong" and _starved():
            outcome, reason = "unknown", "memory"
        busy[0] = 0
        _write(replies, {"outcome": outcome, "reason": reason})
    os._exit(_RECYCLE)


def _starved() -> bool:
    """Whether memory ran short: the library swallows MemoryError and calls it a difference."""
    with (
        contextlib.suppress(FileNotFoundError),
        open("/proc/self/status", encoding="ascii") as file,
    ):
        for line in file:
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024 > 0.9 * MEMORY_BYTES
    return False


def _read_line() -> bytes:
    """One line, unbuffered: what follows it belongs to the next child."""
    parts = []
    while chunk := os.read(0, 65536):
        parts.append(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(parts)


def _write(descriptor: int, reply: dict[str, object]) -> None:
    data = json.dumps(reply).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]
