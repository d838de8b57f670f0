"""The filter of system calls, run here as the kernel would: what is listed is denied, no more."""

from __future__ import annotations

import struct

import pytest

from traces.verify import jail

ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
X86_64, I386 = 0xC000003E, 0x40000003
CLONE_THREAD = 0x10000
CONDITIONAL = (56, 72, 157, 435)  # clone, fcntl, prctl, clone3


def answer(number: int, first: int = 0, second: int = 0, machine: int = X86_64) -> int:
    """What the filter says of a call, by the rules of classic BPF."""
    program = jail.filter_program()
    data = struct.pack("=IIQ6Q", number, machine, 0, first, second, 0, 0, 0, 0)
    loaded = position = 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            loaded = struct.unpack_from("=I", data, value)[0]
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            position += yes if holds else no


def test_each_listed_call_is_refused_and_no_other() -> None:
    listed = {number for group in jail._DENIED for number in group}
    others = set(range(600)) - listed - set(CONDITIONAL)
    assert {n for n in range(600) if answer(n) == REFUSED} - set(CONDITIONAL) == listed
    assert {answer(n) for n in others} == {ALLOWED}


@pytest.mark.parametrize(
    ("number", "first", "second", "want"),
    [
        (56, 0, 0, REFUSED),
        (56, CLONE_THREAD | 0xF00, 0, ALLOWED),
        (435, CLONE_THREAD, 0, UNKNOWN),
        (157, 1, 0, REFUSED),
        (157, 2, 1, ALLOWED),
        (72, 0, 8, REFUSED),
        (72, 0, 10, REFUSED),
        (72, 0, 15, REFUSED),
        (72, 8, 1, ALLOWED),
        (0x40000000, 0, 0, REFUSED),
        (0x40000039, 0, 0, REFUSED),
        (0xFFFFFFFF, 0, 0, REFUSED),
    ],
)
def test_some_calls_depend_on_their_arguments(
    number: int, first: int, second: int, want: int
) -> None:
    assert answer(number, first, second) == want


def test_calls_of_another_machine_kill() -> None:
    assert answer(1, machine=I386) == KILLED
