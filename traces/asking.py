"""Hand a teacher its requests, one when it asks for one, and make it wait where it must."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.budget import Budget
from traces.digests import WIDTH, digests_of
from traces.ledger import Ledger
from traces.plan import Plan
from traces.record import Trace
from traces.store import TraceStore
from traces.teachers.protocol import Request, Teacher, Withdraw
from traces.waves import Target, Waves

WAIT_S = 0.005
"""A teacher that cannot wait is asked again after so long."""


class Asking:
    """An iterator over what to ask now, noted in the ledger and reserved in the budget.

    Gives None while it depends on what is in flight. `reached` names the cap that ended it.
    """

    def __init__(
        self,
        plan: Plan,
        done: npt.NDArray[np.bool_],
        attempts: dict[str, int],
        ledger: Ledger,
        budget: Budget | None,
    ) -> None:
        """`done` says of each place whether the store holds a final trace for it."""
        self._plan, self._done, self._attempts = plan, done, attempts
        self._ledger, self._budget = ledger, budget
        self._source: Iterator[int | Withdraw | None] = iter(())
        self._held: tuple[Request, int] | None = None
        self.spares = False
        """Whether requests may be left out because they are not needed."""
        self.waited = False
        """Whether a teacher that cannot wait was told that there is nothing to ask just now."""

    @property
    def reached(self) -> str:
        """The cap that ended the harvest, in words; empty where none did."""
        return self._budget.reached if self._budget is not None else ""

    def all(self) -> None:
        """Ask for everything that the store lacks."""
        self._source = self._plan.but(self._done)

    def waves(self, target: Target, store: TraceStore) -> Waves:
        """Ask in waves until each prompt has enough right answers."""
        plan, samples = self._plan, self._plan.samples
        new = (n for n in range(len(plan.prompts)) if n * samples not in plan.repeated)
        made = Waves(target, new, plan.key, samples, self._done)
        for place, trace in self._stored(store):
            made.reuse(place, plan.prompts[place // samples], trace)
        self._source, self.spares = iter(made), True
        return made

    def _stored(self, store: TraceStore) -> Iterator[tuple[int, Trace]]:
        """The traces that are done, and their places; of each only 24 bytes are held."""
        places = np.flatnonzero(self._done)
        keys = (bytes.fromhex(self._plan.key(place)) for place in places.tolist())
        digests = np.fromiter(keys, f"S{WIDTH}", len(places))
        order = np.argsort(digests)
        digests, places = digests[order], places[order]
        for trace in store.traces() if len(places) else ():
            wanted = np.frombuffer(digests_of([trace.key])[0], digests.dtype)
            at = int(np.searchsorted(digests, wanted[0])) if len(wanted) else len(digests)
            if at < len(digests) and digests[at] == wanted[0]:
                yield int(places[at]), trace

    def __iter__(self) -> Asking:
        return self

    def __next__(self) -> Request | Withdraw | None:
        if self._held is None:
            place = next(self._source, _END)
            if not isinstance(place, int):
                return place
            if place == _END:
                raise StopIteration
            attempt = self._attempts.get(self._plan.key(place), 0) + 1
            self._held = self._plan.request(place, attempt), place
        request, place = self._held
        budget = self._budget
        if budget is not None and not budget.reserve(
            request.key, request.messages, request.sampling, request.prompt.tools
        ):
            if budget.reached:
                raise StopIteration
            return None
        self._held = None
        self._ledger.take(request, place)
        return request


_END = -1


def answer(
    teacher: Teacher,
    asking: Asking,
    emit: Callable[[Trace], None],
    stopping: Callable[[], bool],
) -> None:
    """Have `teacher` answer all of `asking`, whether or not it knows how to wait."""
    if getattr(teacher, "waits", False):
        waiting: Any = teacher  # a WaitingTeacher
        waiting.answer(asking, emit, stopping)
        return
    asking.waited = True
    while asking.waited and not stopping():
        asking.waited = False
        teacher.answer(_round(asking), emit, stopping)
        if asking.waited:
            time.sleep(WAIT_S)


def _round(asking: Asking) -> Iterator[Request]:
    """What can be asked without knowing more."""
    for item in asking:
        if item is None:
            asking.waited = True
            return
        if isinstance(item, Request):
            yield item
