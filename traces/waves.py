"""The requests of a harvest that stops at enough right answers, in the order of asking.

A generator that learns: traces go in by `judge`, verdicts come back from other threads, and what is
asked next depends on them. Prompts that were begun go before new ones, so the tail stays short.
"""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from types import TracebackType

import msgspec
import numpy as np
import numpy.typing as npt

from traces.best_of import Progress, next_wave
from traces.record import Prompt, Trace
from traces.teachers.protocol import Withdraw

log = logging.getLogger(__name__)

WAITING = 64
"""So many stored traces wait for each judge; the others stay in the store."""


class Target(msgspec.Struct, frozen=True):
    """Stop at `right` right answers of a prompt; `judge` says whether a trace is one.

    `judge` runs in `workers` threads and is the verifier's business: what it raises counts as "not
    right". `give_up` is the chance below which a prompt is left.
    """

    right: int
    judge: Callable[[Prompt, Trace], bool]
    give_up: float = 0.02
    workers: int = 2


class Waves:
    """Which place comes next. Use as a context manager; `judge` is thread-safe.

    Holds only the prompts that were begun and are not done with.

    Args:
        target: When a prompt is satisfied.
        prompts: Index of each prompt to ask.
        key_of: The key that belongs at a place.
        samples: At most so many of each prompt; those of prompt i begin at place i * samples.
        done: Of each place, whether the store holds its trace; that must be given to `reuse` too.
    """

    def __init__(
        self,
        target: Target,
        prompts: Iterable[int],
        key_of: Callable[[int], str],
        samples: int,
        done: npt.NDArray[np.bool_],
    ) -> None:
        self._target, self._samples = target, samples
        self._key_of, self._done = key_of, done
        self._new = iter(prompts)
        self._begun: deque[int] = deque()
        self._progress: dict[int, Progress] = {}
        self._open: dict[int, set[str]] = {}
        self._taken: dict[int, int] = {}
        self._verdicts: queue.SimpleQueue[tuple[int, str, bool]] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(target.workers, thread_name_prefix="judge")
        self._room = BoundedSemaphore(WAITING * target.workers)

    def __enter__(self) -> Waves:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def judge(
        self,
        place: int,
        prompt: Prompt,
        trace: Trace,
        judged: Callable[[], None] = lambda: None,
    ) -> None:
        """Have the trace of a place, and its prompt, judged; its verdict is heeded later.

        `judged` is called once that is done.
        """
        index = place // self._samples
        if trace.status not in ("ok", "truncated"):
            self._verdicts.put((index, trace.key, False))
            judged()
            return

        def work() -> None:
            right = False
            try:
                right = self._target.judge(prompt, trace)
            except Exception as error:  # a verifier's fault must not cost a paid trace
                log.warning("%s: the verifier failed: %s", prompt.source, error)
            self._verdicts.put((index, trace.key, right))
            judged()

        self._threads.submit(work)

    def reuse(self, place: int, prompt: Prompt, trace: Trace) -> None:
        """Count a stored trace, which is judged before anything new is asked of its prompt.

        Waits where many wait to be judged.
        """
        self._room.acquire()
        index = place // self._samples
        self._progress.setdefault(index, Progress()).asked += 1
        self._open.setdefault(index, set()).add(trace.key)
        self.judge(place, prompt, trace, self._room.release)

    def __iter__(self) -> Iterator[int | Withdraw | None]:
        """The places to ask; None while it depends on what is not known yet."""
        while True:
            yield from self._heed()
            index = self._next()
            if index is None:
                if not self._open:
                    return
                yield None
                continue
            progress = self._progress.setdefault(index, Progress())
            for _ in range(self._wave(progress)):
                place = self._unasked(index)
                if place is None:
                    break
                progress.asked += 1
                self._open.setdefault(index, set()).add(self._key_of(place))
                yield place

    def _unasked(self, index: int) -> int | None:
        first = index * self._samples
        sample = self._taken.get(index, 0)
        while sample < self._samples and self._done[first + sample]:
            sample += 1
        self._taken[index] = sample + 1
        return first + sample if sample < self._samples else None

    def _next(self) -> int | None:
        while self._begun:
            index = self._begun.popleft()
            if index in self._progress and self._wave(self._progress[index]):
                return index
        for index in self._new:
            first = index * self._samples
            if not self._done[first : first + self._samples].any():
                return index  # else its stored traces are judged first, and begin it
        return None

    def _heed(self) -> Iterator[Withdraw]:
        while not self._verdicts.empty():
            index, key, right = self._verdicts.get()
            progress, waiting = self._progress[index], self._open[index]
            waiting.discard(key)
            progress.answered += 1
            progress.right += right
            if progress.right >= self._target.right:
                yield from [Withdraw(name) for name in waiting]
            else:
                self._begun.append(index)
            if not waiting:
                del self._open[index]
                if not self._wave(progress):
                    del self._progress[index]
                    self._taken.pop(index, None)

    def _wave(self, progress: Progress) -> int:
        target = self._target
        return next_wave(progress, target=target.right, most=self._samples, give_up=target.give_up)
