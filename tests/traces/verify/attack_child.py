"""Run attacks as another user or without user namespaces; the parent reads the outcome.

    python attack_child.py [--no-namespaces] [NAME...]

One JSON object on stdout: the user id, what each rung lacks, and each attack that was not blocked.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)))
del sys.path[1]  # this folder

from traces.verify import isolation  # noqa: E402
from traces.verify.attacks import attack  # noqa: E402


def refuse_namespaces() -> None:
    """What a kernel without user namespaces says: EPERM to every way of making one."""
    load, equal, any_bit, give, eperm, allow = 0x20, 0x15, 0x45, 0x06, 0x50001, 0x7FFF0000
    steps = [
        (load, 0, 0, 0),
        (equal, 6, 0, 435),  # clone3: as if it were not there
        (equal, 3, 0, 272),  # unshare
        (equal, 0, 3, 56),  # clone
        (load, 0, 0, 16),
        (any_bit, 0, 1, 0x10000000),
        (give, 0, 0, eperm),
        (give, 0, 0, allow),
        (give, 0, 0, 0x50026),
    ]
    program = b"".join(struct.pack("=HBBI", code, t, f, k) for code, t, f, k in steps)
    buffer = ctypes.create_string_buffer(program, len(program))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    fprog = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
    assert libc.prctl(22, 2, fprog, 0, 0) == 0
    assert libc.unshare(0x10000000) == -1


def main() -> None:
    names = sys.argv[1:]
    if "--no-namespaces" in names:
        names.remove("--no-namespaces")
        refuse_namespaces()
    lacks = {rung: isolation.missing(rung) for rung in isolation.RUNGS}
    found = [
        one
        for rung in isolation.RUNGS
        if not lacks[rung]
        for one in attack(rung, iter(names) if names else None)
    ]
    loose = [one._asdict() for one in found if not one.blocked]
    print(json.dumps({"uid": os.getuid(), "lacks": lacks, "run": len(found), "loose": loose}))


if __name__ == "__main__":
    main()
