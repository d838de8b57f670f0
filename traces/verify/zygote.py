"""The server that forks a jailed child for each program to run.

It holds no secret: its environment is empty and it is sent inputs only, never expected outputs.
Requests and replies are JSON lines. A child is limited in CPU time, memory and output; one that
sleeps without using CPU time is ended too, judged by its state and not by the clock alone, so a
busy machine changes no verdict.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

from traces.verify import candidate, jail

MEMORY_BYTES = 512 << 20
OUTPUT_BYTES = 1 << 20
SLEEP_S = 4.0
_TICK_MS = 50


def main() -> None:
    """Serve standard input until it ends. Arguments: CPU seconds per program, the rung of the
    isolation ladder (`traces.verify.isolation`) that this process was started on.
    """
    cpu_s, landlock = max(1, round(float(sys.argv[1]))), sys.argv[2] != "bwrap"
    replies, requests = os.dup(1), os.dup(0)
    _warm_up()
    _write(replies, {"ready": True, "missing": jail.missing(landlock=landlock)})
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            _write(replies, run(request, cpu_s, landlock, (requests, replies)))


def _warm_up() -> None:
    """Do before the forks what each child would do again: 9 ms of CPU time for every program."""
    jail.prepare()
    sys.path[:] = [os.path.join(p, d) for p in jail.libraries() for d in ("", "lib-dynload")]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_streams()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    candidate.call_entry("def f(x): return x", "f", ["[1]"], nowhere)
    os.close(nowhere)
    gc.freeze()


def _open_streams() -> None:
    """Fresh `sys.stdin` and `sys.stdout`, opened on what whole programs get: a file, a pipe."""
    _feed("")
    shown, stdout = os.pipe()
    os.dup2(stdout, 1)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    for descriptor in (shown, stdout):
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(nowhere := os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(nowhere, 2)


def run(
    request: dict[str, Any], cpu_s: int, landlock: bool, private: tuple[int, ...] = ()
) -> dict[str, Any]:
    """What became of one program: `end` (exit, cpu, memory, output, sleep, signal N), `lines` sent
    and `stdout` written.
    """
    sent, out = os.pipe()
    shown, stdout = os.pipe()
    child = os.fork()
    if child == 0:
        for descriptor in (sent, shown, *private):
            os.close(descriptor)
        _child(request, cpu_s, landlock, out, stdout)
    os.close(out)
    os.close(stdout)
    try:
        found, end = _watch(child, [sent, shown])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        os.close(sent)
        os.close(shown)
    end = end or _end(status, usage.ru_utime + usage.ru_stime, cpu_s)
    lines = found[0].decode("utf-8", "replace").splitlines()
    return {"end": end, "lines": lines, "stdout": found[1].decode("utf-8", "replace")}


def _end(status: int, used_s: float, cpu_s: int) -> str:
    if os.WIFEXITED(status):
        return "exit" if os.WEXITSTATUS(status) == 0 else f"exit {os.WEXITSTATUS(status)}"
    if os.WTERMSIG(status) == signal.SIGXCPU or used_s >= cpu_s:
        return "cpu"
    return f"signal {os.WTERMSIG(status)}"


def _watch(child: int, pipes: list[int]) -> tuple[list[bytearray], str]:
    """Read both pipes until the child closes them. The second value says why it was ended."""
    found = [bytearray(), bytearray()]
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    left, asleep_since = set(pipes), time.monotonic()
    while left:
        events = poll.poll(_TICK_MS)
        for pipe, _ in events:
            chunk = os.read(pipe, 65536)
            found[pipes.index(pipe)] += chunk
            if not chunk:
                poll.unregister(pipe)
                left.discard(pipe)
        if max(map(len, found)) > OUTPUT_BYTES:
            return found, "output"
        if not events and _sleeps(child):
            if time.monotonic() - asleep_since > SLEEP_S:
                return found, "sleep"
        else:
            asleep_since = time.monotonic()
    return found, ""


def _sleeps(child: int) -> bool:
    """Whether the child waits for something rather than for its turn."""
    try:
        with open(f"/proc/{child}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"S", b"D", b"T")
    except FileNotFoundError:
        return True


def _child(request: dict[str, Any], cpu_s: int, landlock: bool, out: int, stdout: int) -> NoReturn:
    """Enter the jail and run the program. Never returns."""
    try:
        os.setsid()
        if request["stdin"] is not None:
            os.dup2(stdout, 1)
            _feed(request["stdin"])
        os.dup2(out, 3)
        jail.enter(cpu_s=cpu_s, memory_bytes=MEMORY_BYTES, landlock=landlock)
        os.closerange(4, 256)  # the rules of the jail too
        if request["stdin"] is None:
            candidate.call_entry(request["code"], request["entry"], request["calls"], 3)
        else:
            candidate.run_program(request["code"], 3)
    except BaseException as error:
        os.write(3, json.dumps({"fatal": f"{type(error).__name__}: {error}"[:200]}).encode())
    os._exit(0)


def _feed(text: str) -> None:
    """`text` as standard input: a file of its own, so that leaving it unread blocks nobody."""
    file = os.memfd_create("stdin")
    data = text.encode("utf-8", "replace")
    while data:
        data = data[os.write(file, data) :]
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(os.open(f"/proc/self/fd/{file}", os.O_RDONLY), 0)


def _write(descriptor: int, reply: dict[str, Any]) -> None:
    data = json.dumps(reply).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]
