"""The account of a harvest: what was taken, what was answered, what is in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from traces.budget import Budget
from traces.errors import CountError
from traces.plan import MOST, Plan
from traces.record import FINAL_STATUSES, Trace
from traces.store import TraceStore
from traces.teachers.protocol import Request


class Ledger:
    """Holds a teacher to one trace for each request, and counts."""

    def __init__(
        self,
        plan: Plan,
        store: TraceStore,
        on_trace: Callable[[Trace], None] | None,
        budget: Budget | None = None,
    ) -> None:
        self._plan, self._store = plan, store
        self._on_trace = on_trace
        self._budget = budget
        self.judge: Callable[[int, Trace], None] | None = None
        """Told of each trace and its place, where what is asked next depends on it."""
        self.cost_micro_usd = 0
        self._unanswered: dict[str, tuple[int, int]] = {}  # attempt and place, by key
        self._answered = np.zeros(plan.places, dtype=np.int16)  # the attempt that was made now
        self.asked = 0
        self.by_status: Counter[str] = Counter()
        self.failed = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def take(self, request: Request, place: int) -> None:
        """Note that the teacher took the request of a place."""
        self._unanswered[request.key] = request.attempt, place

    def emit(self, trace: Trace) -> None:
        """Store a trace, if it answers a request that is open."""
        attempt, place = self._unanswered.pop(trace.key, (None, 0))
        if attempt != trace.attempt:
            raise CountError(f"trace {trace.key} (attempt {trace.attempt}) answers no open request")
        self._store.add(trace, self._on_trace)
        self._answered[place] = min(trace.attempt, MOST)
        self.asked += 1
        self.by_status[trace.status] += 1
        self.failed += trace.status not in FINAL_STATUSES
        self.prompt_tokens += trace.usage.prompt
        self.completion_tokens += trace.usage.completion
        self.cost_micro_usd += trace.cost_micro_usd or 0
        if self._budget is not None:
            self._budget.settle(trace)
        if self.judge is not None:
            self.judge(place, trace)

    def settle(self, *, stopped: bool) -> None:
        """Check that what was taken was answered, unless `stopped`, and is in the store.

        Raises:
            CountError: it is not.
        """
        if self._unanswered and not stopped:
            key = next(iter(self._unanswered))
            raise CountError(
                f"{len(self._unanswered)} requests got no trace, the first of them {key}"
            )
        if not self.asked:
            return
        stored = self._plan.attempts(self._store)
        missing = np.flatnonzero((self._answered > 0) & (stored != self._answered))
        if len(missing):
            first = self._plan.key(int(missing[0]))
            raise CountError(f"{len(missing)} traces are not in the store, such as {first}")
