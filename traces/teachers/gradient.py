"""Notice that an endpoint queues, where it neither says so nor lets its queue be counted.

Requests above what a server can work on only wait inside it: each takes longer, and no more tokens
come out in a second. When both are seen the width is held and the throughput measured, and then it
is narrowed for a trial. If that costs throughput, as it does where a server batches, it is taken
back. Else the width falls to what the server works on at a time: by Little's law its throughput
(tokens per second) times the time that a token took in the beginning (seconds per token), and from
there on step by step as long as nothing is lost. Later it tries now and then whether more comes out
of a greater width. Throughput is measured by the same law, as width by time of a token, which
scatters far less than counts of answers do. Source of the idea: L. Brakmo and L. Peterson, "TCP
Vegas", IEEE JSAC 13(8), 1995.
"""

from __future__ import annotations

from collections.abc import Callable

RISE = 1.5
"""A token that takes so many times its time in the beginning may have waited."""
HELD_RISE = 1.3
"""The same once the width is held, against the time when it came to rest."""
FLAT = 1.1
"""Throughput that is not above the best so far by this factor does not grow."""
FIRST_S = 0.25
"""Requests sent so soon after the first tell the time of a token before there was a queue."""
MOST_OF = 0.9
"""Such a share of them must be answered: those that are answered first were quick."""
LOOK = 32
"""Answers between two looks while the width grows by itself."""
LEAST, MOST = 100, 400
"""Answers in a measurement: one round, but so many."""
SPARE = 1.1
"""Above what the server works on, so that it never waits for us."""
NARROWER, LOST = 0.8, 0.94
"""A width smaller by the one factor is kept if throughput is not below the other."""
WIDER, GAIN = 1.2, 1.06
"""A width greater by the one factor is kept if throughput is greater by the other."""
REST = 4
"""Measurements between two attempts at a greater width."""


class _Span:
    """Answers between two moments."""

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self.answers = self.tokens = 0
        self.took_s = 0.0

    def add(self, took_s: float, tokens: int) -> None:
        self.answers += 1
        self.took_s += took_s
        self.tokens += tokens

    @property
    def per_token_s(self) -> float:
        return self.took_s / self.tokens

    def rate(self, now_s: float) -> float:
        """Tokens per second."""
        return self.tokens / max(1e-9, now_s - self.start_s)


class Gradient:
    """Watches the answers of one endpoint; `served` says which width they call for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first, self._span = _Span(float("inf")), _Span(clock())
        self._firsts = 0  # requests sent in the beginning
        self._floor_s = float("inf")
        self._best = 0.0
        self._suspicions = 0
        self._skip = 0  # answers to requests that were sent at another width
        self._doing = ""  # measure, trial, jump, narrower, wider, rest; empty: it grows by itself
        self._before = (0.0, 0.0)  # width and throughput that an attempt is compared with
        self._rests = 0

    @property
    def holding(self) -> bool:
        """Whether the width is not to grow by itself."""
        return bool(self._doing)

    def entered(self) -> None:
        """A request is being sent."""
        now_s = self._clock()
        self._first.start_s = min(self._first.start_s, now_s)
        if now_s <= self._first.start_s + FIRST_S:
            self._firsts += 1

    def served(self, took_s: float, tokens: int, width: float, in_flight: int) -> float | None:
        """Take note of one answer; the width to go to, None to leave it."""
        tokens, now_s = max(1, tokens), self._clock()
        self._note_first(took_s, tokens, now_s - took_s)
        if self._skip:
            self._skip -= 1
            self._span = _Span(now_s)
            return None
        self._span.add(took_s, tokens)
        if self._span.answers < self._enough(width):
            return None
        span, self._span = self._span, _Span(now_s)
        if self._doing:
            rate = min(width, in_flight + 1) / span.per_token_s
            return self._judged(span.per_token_s, rate, width, in_flight)
        self._suspect(span.per_token_s, span.rate(now_s), full=in_flight + 1 >= int(width))
        if self._suspicions > 1:
            self._doing, self._skip = "measure", 2 * in_flight
        return None

    def _enough(self, width: float) -> int:
        return max(LEAST, min(MOST, int(width))) if self._doing else LOOK

    def _note_first(self, took_s: float, tokens: int, sent_s: float) -> None:
        first = self._first
        if not self._doing and first.start_s <= sent_s <= first.start_s + FIRST_S:
            first.add(took_s, tokens)
            if first.answers >= MOST_OF * self._firsts:
                self._floor_s = first.per_token_s

    def _suspect(self, per_token_s: float, rate: float, *, full: bool) -> None:
        waits = full and per_token_s > RISE * self._floor_s and rate < FLAT * self._best
        self._suspicions = self._suspicions + 1 if waits else 0
        self._best = max(self._best, rate)

    def _try(self, doing: str, width: float, rate: float, wanted: float, in_flight: int) -> float:
        """Begin an attempt at another width, to be judged by what comes of it."""
        wanted = max(1.0, wanted)
        self._before, self._doing, self._rests = (width, rate), doing, 0
        # What is in flight was sent at another width, and overlaps with one round at this one.
        self._skip = in_flight + int(wanted)
        return wanted

    def _judged(
        self, per_token_s: float, rate: float, width: float, in_flight: int
    ) -> float | None:
        """Judge the last attempt by a measurement, or begin another."""
        doing, before = self._doing, self._before[1]
        if doing == "measure":
            return self._try("trial", width, rate, NARROWER * width, in_flight)
        if doing in ("trial", "jump", "narrower"):
            if rate < LOST * before:
                return self._taken_back(in_flight)
            little = SPARE * rate * self._floor_s
            if doing == "trial" and little < NARROWER * width:
                return self._try("jump", width, before, little, in_flight)
            if width > 1.0:
                return self._try("narrower", width, before, NARROWER * width, in_flight)
        elif doing == "wider":
            if rate > GAIN * before:
                return self._try("wider", width, rate, _wider(width), in_flight)
            return self._taken_back(in_flight)
        self._rests += 1
        if doing != "rest":
            self._doing, self._floor_s = "rest", per_token_s
        elif per_token_s > HELD_RISE * self._floor_s:
            return self._try("narrower", width, rate, NARROWER * width, in_flight)
        elif self._rests >= REST:
            return self._try("wider", width, rate, _wider(width), in_flight)
        return None

    def _taken_back(self, in_flight: int) -> float:
        """Go back to the width before; a first trial that cost throughput lets it grow again."""
        was, before = self._before
        self._floor_s = was / before  # what a token takes at that width, by Little's law
        self._skip = in_flight + int(was)
        if self._doing == "trial":
            self._doing, self._best, self._suspicions = "", before, 0
        elif self._doing == "jump":  # too far; the trial cost nothing
            return self._try("narrower", was, before, NARROWER * was, in_flight)
        else:
            self._doing = "rest"
        return was


def _wider(width: float) -> float:
    return max(width + 1.0, WIDER * width)
