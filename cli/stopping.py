"""Ctrl-C, SIGTERM and a closed terminal: the first asks the run to stop, the second cancels it.

The third ends the process at once, which the store survives as it does `kill -9`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130
MESSAGE = (
    b"\nstopping: what is in flight is finished and saved; once more to cancel it"
    b" (the same command resumes)\n"
)


class Stopping:
    """Callable that is true once a stop was asked for."""

    def __init__(self) -> None:
        self.asked = False
        self._cancelled = False

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; raise KeyboardInterrupt at the second; exit at the third."""
        if self._cancelled:
            os._exit(EXIT_CODE)
        if self.asked:
            self._cancelled = True
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, MESSAGE)


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Catch the signals while the block runs, but SIGHUP where `nohup` has set it to be ignored.

    Main thread only. A shell that starts a job in the background has it ignore SIGINT too: one that
    is sent to it all the same is meant.
    """
    state = Stopping()
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [number for number in SIGNALS if number != signal.SIGHUP or not nohup]
    before = {number: signal.signal(number, state.handle) for number in heard}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
