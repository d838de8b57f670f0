"""Programs that attack whoever runs them, to be refused on every rung of the isolation.

Each would be judged right (it returns the square) if its attack worked. `distill doctor --sandbox`
runs them all and prints the matrix; the tests run them as root, as nobody, and without user
namespaces.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from traces.verify import isolation
from traces.verify.check import Check
from traces.verify.code import begin_code
from traces.verify.pool import Pool

SECRET = "SECRET_OF_THE_PARENT"
SQUARES = json.dumps({"entry": "f", "tests": [[[2], 4], [[3], 9]]})
ECHO = json.dumps({"stdin": [["3\n", "9\n"], ["4\n", "16\n"]]})
GOOD = "def f(x): return x * x"
HOST = Path(tempfile.gettempdir()) / f"written_by_a_candidate_{os.getpid()}"

_LIBC = "import ctypes, os\nc = ctypes.CDLL(None)\ndef f(x): "
ATTACKS = {
    "fork": "import os\ndef f(x): return x * x if os.fork() >= 0 else 0",
    "daemon": "import os, time\ndef f(x):\n  if os.fork() == 0:\n    os.setsid()\n"
    "    if os.fork() == 0: time.sleep(600)\n    os._exit(0)\n  return x * x",
    "posix_spawn": "import os\ndef f(x): os.posix_spawn('/bin/true', ['true'], {}); return x * x",
    "exec": "import os\ndef f(x): os.execv('/bin/true', ['true'])",
    "subprocess": "import subprocess\ndef f(x): subprocess.run(['true']); return x * x",
    "vfork by hand": _LIBC + "return x * x if c.syscall(58) >= 0 else -1",
    "memory": "def f(x): b = bytearray(1 << 30); return x * x",
    "memory by many forks": "import os\ndef f(x):\n  for _ in range(8):\n    if os.fork() == 0:\n"
    "      b = bytearray(400 << 20)\n      while True: pass\n  return x * x",
    "memory file": "import os\ndef f(x): os.memfd_create('a'); return x * x",
    "thread storm": "import threading\ndef f(x):\n  for _ in range(10 ** 6): "
    "threading.Thread(target=threading.Event().wait).start()\n  return x * x",
    "own environment": f"import os\ndef f(x): return os.environ[{SECRET!r}] and x * x",
    "environments in /proc": "import os\ndef f(x):\n  for p in os.listdir('/proc'):\n    try:\n"
    f"      if {SECRET!r} in open(f'/proc/{{p}}/environ').read(): return x * x\n"
    "    except OSError: pass\n  return -1",
    "memory of the parent": "import os\ndef f(x): open(f'/proc/{os.getppid()}/mem', 'rb').read(1)"
    "; return x * x",
    "network": "import _socket\ndef f(x): _socket.socket(); return x * x",
    "unix socket": "import _socket\ndef f(x): _socket.socketpair(); return x * x",
    "host write": f"def f(x): open({str(HOST)!r}, 'w').write('x'); return x * x",
    "host link": f"import os\ndef f(x): os.symlink('/etc', {str(HOST)!r}); return x * x",
    "host chmod": "import os\ndef f(x): os.chmod('/tmp', 0o777); return x * x",
    "host read": "def f(x): open('/etc/passwd').read(); return x * x",
    "ptrace": _LIBC + "return x * x if c.ptrace(16, os.getppid(), 0, 0) == 0 else -1",
    "signal to the parent": "import os\ndef f(x): os.kill(os.getppid(), 9); return x * x",
    "signal to all": "import os\ndef f(x): os.kill(-1, 9); return x * x",
    "signal by file": "import fcntl, os\ndef f(x): fcntl.fcntl(1, 8, os.getppid()); return x * x",
    "user namespace": _LIBC + "return x * x if c.unshare(0x10000000) == 0 else -1",
    "mount": _LIBC + "return x * x if c.mount(b'a', b'/tmp', b'tmpfs', 0, 0) == 0 else -1",
    "os._exit": "import os\ndef f(x): os._exit(0)",
    "SystemExit": "raise SystemExit(0)",
    "equality": "class A(int):\n  def __eq__(self, other): return True\ndef f(x): return A(0)",
    "frame walk": "import sys\ndef f(x):\n  frame = sys._getframe()\n  while frame:\n"
    "    for value in frame.f_locals.values():\n"
    "      if type(value) is dict and 'expected' in value: return value['expected']\n"
    "    frame = frame.f_back",
    "forged reply": "import os\nos.write(3, b'{\"value\": 0}\\n')\ndef f(x): return x * x",
    "never ending": "def f(x):\n  while True:\n    try:\n      while True: pass\n"
    "    except BaseException: pass",
    "sleep": "import time\ndef f(x): time.sleep(600); return x * x",
}
FLOOD = "while True: print('x' * 1000)"


class Attacked(NamedTuple):
    """What became of an attack: blocked, or why not."""

    name: str
    rung: str
    blocked: bool
    said: str


def judge(code: str, pool: Pool, gold: str = SQUARES) -> Check:
    """The check of a program."""
    found = begin_code(gold, f"Here:\n```python\n{code}\n```\n")
    return found if isinstance(found, Check) else found(pool)


def attack(rung: str, names: Iterator[str] | None = None, cpu_s: float = 1.0) -> Iterator[Attacked]:
    """Run each attack on `rung`. Blocked: judged wrong, nothing written, and the next, harmless
    program is judged right. The environment holds a secret meanwhile.
    """
    os.environ[SECRET] = "hush"
    try:
        with Pool(workers=1, timeout_s=cpu_s, isolation=rung) as pool:
            for name in names or iter((*ATTACKS, "stdout flood")):
                yield _attacked(name, rung, pool)
    finally:
        del os.environ[SECRET]


def _attacked(name: str, rung: str, pool: Pool) -> Attacked:
    flood = name == "stdout flood"
    check = judge(FLOOD if flood else ATTACKS[name], pool, ECHO if flood else SQUARES)
    said = f"{check.outcome}: {check.reason}"
    if HOST.is_symlink() or HOST.exists():
        HOST.unlink()
        said = "written to the host"
    elif check.outcome == "wrong" and "ModuleNotFoundError" not in check.reason:
        if judge(GOOD, pool).outcome == "right":
            return Attacked(name, rung, True, check.reason.partition(": ")[2])
        said = "the next program is not judged"
    return Attacked(name, rung, False, said)


def matrix() -> Iterator[Attacked]:
    """Every attack on every rung that this machine has."""
    for rung in isolation.RUNGS:
        if not isolation.missing(rung):
            yield from attack(rung)
