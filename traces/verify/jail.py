"""Give up everything but arithmetic: Landlock, seccomp, resource limits, another user.

For a forked process about to run untrusted code, on Linux x86-64. Works as root, as any user, and
where user namespaces are refused. Afterwards the process cannot start another one, execute, open a
socket, write or change any file, read files outside the Python library, signal or trace anybody, or
take more memory and CPU time than its limits. Landlock keeps the files (Linux 5.13), seccomp the
rest; each covers what the other cannot.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import resource
import struct
import sys
import sysconfig
from collections.abc import Sequence

NOBODY = 65534
_READABLE = ("/usr/lib", "/lib", "/lib64", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_READ, _READ_DIR, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2

# x86-64 system calls that fail with EPERM, by what they would do.
_DENIED = (
    (41, 42, 43, 44, 49, 50, 53, 288),  # sockets
    (57, 58, 59, 322),  # fork, vfork, execve, execveat
    (62, 129, 200, 234, 297, 424, 434, 438),  # signals and pidfds
    (101, 310, 311, 440, 256, 279),  # ptrace, other processes' memory
    (90, 91, 92, 93, 94, 260, 268, 452),  # chmod, chown
    (132, 235, 261, 280, 188, 189, 190, 197, 198, 199, 463, 466, 76, 133, 259),  # other metadata
    (29, 64, 68, 240, 319, 447, 323, 206),  # memory that no limit counts
    (109, 112, 141, 142, 144, 160, 203, 251, 302, 314),  # sessions, priorities, limits
    (155, 161, 163, 165, 166, 167, 168, 169, 170, 171, 179, 272, 308),  # mounts, namespaces
    (428, 429, 430, 431, 432, 433, 442, 303, 304, 300),  # new mounts, file handles
    (
        103,
        175,
        176,
        246,
        248,
        249,
        250,
        298,
        313,
        320,
        321,
        425,
        426,
        427,
    ),  # kernel, keys, io_uring
)
_CLONE, _CLONE3, _FCNTL, _PRCTL = 56, 435, 72, 157
_DEATH_SIGNAL = 1
_CAPSET = 126
_OWNER_COMMANDS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by way of a file
_THREAD = 0x10000
_ARCH_X86_64 = 0xC000003E
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


def missing(*, landlock: bool = True) -> str:
    """Why this machine cannot jail a process, empty where it can. Without `landlock` seccomp will
    do, for where the files are kept by other means.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"isolation needs Linux on x86-64, not {sys.platform} on {platform.machine()}"
    if landlock and _landlock() < 1:
        return "this kernel has no Landlock"
    return ""


def _landlock() -> int:
    """The version of the kernel's Landlock, below one where it has none."""
    found = _libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return int(found)


def prepare() -> None:
    """Do what every later `enter` of a forked process would do again, which each first call of a
    function is too: it is looked up, and the pages it writes to become this process's own.
    """
    _libraries_open_to_all(), _loaded_filter()
    os.setresgid(-1, -1, -1)  # changes nothing, as the next
    os.setresuid(-1, -1, -1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _checked(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    if _landlock() >= 1:
        _rules()


def enter(*, cpu_s: int, memory_bytes: int, landlock: bool = True) -> None:
    """Jail the calling process for good. Raises OSError where any layer is refused; without
    `landlock` that layer is laid where the kernel has it.

    The descriptor of the Landlock rules stays open: close it before untrusted code runs.

    Root becomes nobody, or, where Python lies in a folder that only root can read, root without
    any capability.
    """
    if os.geteuid() == 0:
        os.setgroups([])
        if _libraries_open_to_all():
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        nothing = struct.pack("=II", 0x20080522, 0), struct.pack("=6I", *[0] * 6)
        _checked(_libc.syscall(_CAPSET, *nothing))
    for name, soft, hard in (
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        resource.setrlimit(name, (soft, hard))
    _checked(_libc.prctl(_DEATH_SIGNAL, 9, 0, 0, 0))  # dies with its parent
    _checked(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    if landlock or _landlock() >= 1:
        _checked(_libc.syscall(_LANDLOCK_RESTRICT, _rules(), 0))
    _restrict_calls()


@functools.cache
def libraries() -> Sequence[str]:
    """Where Python's own modules lie, without those installed later."""
    return list(dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")))


@functools.cache
def _libraries_open_to_all() -> bool:
    return all(map(_open_to_all, libraries()))


def _open_to_all(path: str) -> bool:
    """Whether every folder on the way can be entered by any user."""
    real = os.path.realpath(path)
    ways = [real]
    while ways[-1] != "/":
        ways.append(os.path.dirname(ways[-1]))
    return all(os.stat(way).st_mode & 0o1 for way in ways)


@functools.cache
def _rules() -> int:
    """A descriptor of the Landlock rules, made once: they hold for every process that takes them
    on, and to make them is a tenth of what a program costs.
    """
    return _ruleset([*_READABLE, *libraries()])


def _ruleset(readable: Sequence[str]) -> int:
    """A descriptor of the rules that let nothing but `readable` be read."""
    abi = _landlock()
    handled = next(rights for known, rights in sorted(_FS_RIGHTS.items())[::-1] if known <= abi)
    # Fields: files, network (binding and connecting), scope (abstract sockets and signals).
    fields = [handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0]
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = struct.pack("=QQQ", *fields)[:size]
    rules = _checked(_libc.syscall(_LANDLOCK_CREATE, ruleset, ctypes.c_size_t(size), 0))
    for path in (*readable, *_DEVICES):
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights = _READ | _EXECUTE | _READ_DIR if os.path.isdir(path) else _READ
        rule = struct.pack("=Qi", rights, parent)
        _checked(_libc.syscall(_LANDLOCK_ADD, rules, 1, rule, 0))
        os.close(parent)
    return rules


def _restrict_calls() -> None:
    _checked(_libc.prctl(_SECCOMP, _FILTER, _loaded_filter()[1], 0, 0))


@functools.cache
def _loaded_filter() -> tuple[ctypes.Array[ctypes.c_char], bytes]:
    """The filter in memory, and the structure that points to it."""
    program = filter_program()
    buffer = ctypes.create_string_buffer(program, len(program))
    return buffer, struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))


_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _GIVE = 0x20, 0x15, 0x35, 0x45, 0x06


def _op(code: int, k: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, k)


@functools.cache
def filter_program() -> bytes:
    """The filter as classic BPF: deny what is listed, allow the rest.

    A search tree over the numbers: the kernel tries each number when the filter is laid, which
    takes 0.3 ms with one comparison after the other.
    """
    allow, eperm = [_op(_GIVE, _ALLOW)], [_op(_GIVE, _ERRNO | _EPERM)]
    calls = {number: eperm for group in _DENIED for number in group}
    calls[_CLONE3] = [_op(_GIVE, _ERRNO | _ENOSYS)]  # libraries fall back on clone
    # The first argument is at 16, the second at 24.
    calls[_CLONE] = [_op(_LOAD, 16), _op(_ANY_BIT, _THREAD, 1, 0), *eperm, *allow]
    for call, place, values in ((_PRCTL, 16, (_DEATH_SIGNAL,)), (_FCNTL, 24, _OWNER_COMMANDS)):
        tests = [op for value in values for op in (_op(_EQUAL, value, 0, 1), *eperm)]
        calls[call] = [_op(_LOAD, place), *tests, *allow]
    runs = [(0, allow)]
    for number in range(max(calls) + 2):
        if (does := calls.get(number, allow)) != runs[-1][1]:
            runs.append((number, does))
    parts = [_op(_LOAD, 4), _op(_EQUAL, _ARCH_X86_64, 1, 0), _op(_GIVE, _KILL), _op(_LOAD, 0)]
    parts += [_op(_AT_LEAST, 0x40000000, 0, 1), *eperm]  # the x32 numbers
    return b"".join([*parts, *_search(runs)])


def _search(runs: Sequence[tuple[int, list[bytes]]]) -> list[bytes]:
    """Instructions that do for a number what the last run that begins at or before it does."""
    if len(runs) == 1:
        return runs[0][1]
    half = len(runs) // 2
    below, above = _search(runs[:half]), _search(runs[half:])
    return [_op(_AT_LEAST, runs[half][0], len(below), 0), *below, *above]


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
